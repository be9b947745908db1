//! What a statement does, read from its text: in a word or two, which don't change with its values.

use std::fmt;

/// One thing that a statement does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) table: Option<&'static str>,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.table {
            Some(table) => write!(f, "{} {table}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// Lists what a statement changes, in its order; of one that changes nothing, what it reads first.
///
/// It knows as much of SQL as the statements beside it use; what they look for in order to change it is no operation.
pub(super) fn operations(text: &'static str) -> Vec<Operation> {
    let is_of_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words: Vec<&'static str> = text
        .split(|character| !is_of_word(character))
        .filter(|word| !word.is_empty())
        .collect();
    let mut changes = Vec::new();
    for at in 0..words.len() {
        let table = match words[at..] {
            ["INSERT", "INTO", table, ..] | ["DELETE", "FROM", table, ..] => table,
            // A row is locked by `FOR UPDATE`.
            ["UPDATE", table, ..] if at == 0 || words[at - 1] != "FOR" => table,
            _ => continue,
        };
        changes.push(Operation {
            name: words[at],
            table: Some(table),
        });
    }
    if changes.is_empty() {
        let from = words.iter().position(|word| *word == "FROM");
        changes.extend(words.first().map(|first| Operation {
            name: first,
            table: from.and_then(|from| words.get(from + 1).copied()),
        }));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &'static str, expected: &str) {
        let all: Vec<String> = operations(text).iter().map(ToString::to_string).collect();
        assert_eq!(expected, all.join(" "));
    }

    #[test]
    fn a_statement_is_named_by_what_it_changes_or_else_reads() {
        check("BEGIN IMMEDIATE", "BEGIN");
        check("COMMIT", "COMMIT");
        check("SELECT id FROM users WHERE id = ?", "SELECT users");
        check(
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE kind = ?)",
            "SELECT outbox",
        );
        check(
            "INSERT INTO users (name) VALUES (?) ON CONFLICT (name) DO NOTHING RETURNING id",
            "INSERT users",
        );
        check(
            "DELETE FROM outbox WHERE id IN\n (SELECT id FROM outbox LIMIT 1)",
            "DELETE outbox",
        );
        check(
            "WITH due AS (SELECT id FROM outbox FOR UPDATE SKIP LOCKED) UPDATE outbox o SET tries = 1 FROM due",
            "UPDATE outbox",
        );
        check(
            "WITH stored AS (INSERT INTO users (name) VALUES ($1) RETURNING id),
             sending AS (INSERT INTO outbox (id) SELECT id FROM stored) SELECT id FROM stored",
            "INSERT users INSERT outbox",
        );
    }
}
