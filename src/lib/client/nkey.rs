//! The key by which a server knows a process: a pair of which the server has only the public half.

use std::{fmt, str::FromStr};

use nkeys::{KeyPair, KeyPairType};

use super::Error;

/// A user's nkey. Its seed is a secret and never shows; its public key may.
///
/// Parses from the seed itself, or from the text of a file that holds it on a line of its own.
#[derive(Clone)]
pub struct Nkey {
    seed: String,
    public_key: String,
}

impl Nkey {
    /// Returns the half that the server's configuration holds: 56 characters that begin with `U`.
    #[must_use]
    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    pub(super) fn seed(&self) -> &str {
        &self.seed
    }
}

impl FromStr for Nkey {
    type Err = Error;

    /// # Errors
    ///
    /// Returns an error, which holds nothing of the text, when there is no seed of a user's nkey in it.
    fn from_str(text: &str) -> Result<Self, Error> {
        let seed = text
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with("SU"));
        let seed = seed.ok_or(Error::Nkey)?;
        let pair = KeyPair::from_seed(seed).map_err(|_| Error::Nkey)?;
        if pair.key_pair_type() != KeyPairType::User {
            return Err(Error::Nkey);
        }
        Ok(Self {
            seed: seed.to_owned(),
            public_key: pair.public_key(),
        })
    }
}

impl fmt::Debug for Nkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nkey({})", self.public_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_found_in_a_file_and_never_shows() {
        let pair = KeyPair::new_user();
        let seed = pair.seed().expect("a seed");
        for file in [
            seed.clone(),
            format!("  {seed}\r\n"),
            format!("-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"),
        ] {
            let read: Nkey = file.parse().expect("a seed");
            assert_eq!(pair.public_key(), read.public_key());
            assert!(!format!("{read:?}").contains(&seed));
        }
    }

    #[test]
    fn what_is_no_seed_of_a_user_is_an_error_that_does_not_repeat_it() {
        let pair = KeyPair::new_user();
        let (public, seed) = (pair.public_key(), pair.seed().expect("a seed"));
        let account = KeyPair::new_account().seed().expect("a seed");
        let short = &seed[..57];
        let mistyped = format!("{short}{}", if seed.ends_with('A') { 'B' } else { 'A' });
        for wrong in ["", "SU", &public, short, &mistyped, &account, "SUü"] {
            let error = wrong.parse::<Nkey>().expect_err(wrong).to_string();
            assert!(error.contains("begins with SU"), "{error}");
            assert!(wrong.len() < 4 || !error.contains(wrong), "{error}");
        }
    }
}
