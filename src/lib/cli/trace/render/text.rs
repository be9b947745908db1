//! Text that fits: without control characters, cut or wrapped, measured in characters.

/// Makes text from a file safe to print on one line.
pub(in crate::cli::trace) fn clean(text: &str, ascii: bool) -> String {
    text.chars()
        .map(|character| match character {
            character if character.is_whitespace() => ' ',
            character if is_unprintable(character) || (ascii && !character.is_ascii()) => '?',
            character => character,
        })
        .collect()
}

/// Control characters steer the terminal, bidirectional and zero-width ones fake what is shown.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Cuts text to a width; the cut is shown.
pub(in crate::cli::trace) fn fit(text: &str, width: usize, ascii: bool) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mark = if ascii { "..." } else { "…" };
    let mark_width = mark.chars().count();
    if width < mark_width {
        return text.chars().take(width).collect();
    }
    text.chars()
        .take(width - mark_width)
        .chain(mark.chars())
        .collect()
}

/// Breaks text between words; a word that is too long is cut by who prints it.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        if let Some(line) = lines.last_mut() {
            if line.is_empty() {
                line.push_str(word);
                continue;
            }
            if line.chars().count() + 1 + word.chars().count() <= width {
                line.push(' ');
                line.push_str(word);
                continue;
            }
        }
        lines.push(word.to_owned());
    }
    lines
}

/// Counts things in words: `1 span`, `2 spans`.
pub(in crate::cli::trace) fn count(number: usize, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{number} {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_too_long_is_cut_visibly() {
        assert_eq!("übung", fit("übung", 5, false));
        assert_eq!("übu…", fit("übung", 4, false));
        assert_eq!("a...", fit("abcde", 4, true));
        assert_eq!("ab", fit("abcde", 2, true));
        assert_eq!("", fit("abcde", 0, false));
    }

    #[test]
    fn a_file_cannot_steer_the_terminal() {
        assert_eq!("a b?[31mc?d", clean("a\nb\u{1b}[31mc\u{202e}d", false));
        assert_eq!("?bung", clean("übung", true));
    }

    #[test]
    fn words_stay_whole() {
        assert_eq!(vec!["one two", "three"], wrap("one two three", 8));
        assert_eq!(vec!["three", "a"], wrap("three a", 2));
    }
}
