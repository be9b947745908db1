//! An operation's derived names, joined at compile time.
//!
//! Subject and span attributes of an operation never change, so no call should build them: they are
//! put together by the compiler and used as `&'static str`.

use std::marker::PhantomData;

use super::{Operation, Service, service::assert_token};

/// Longest join: `svc.` + 32 + `.` + 32.
const CAPACITY: usize = 72;

/// Everything that the runtime calls an operation by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    pub(crate) service: Service,
    /// `get_user`
    pub(crate) operation: &'static str,
    /// `svc.user.get_user`
    pub(crate) subject: &'static str,
    /// `user/get_user`
    pub(crate) rpc_method: &'static str,
    pub(crate) idempotent: bool,
}

impl Names {
    pub(crate) const fn of<O: Operation>() -> &'static Self {
        &Table::<O>::NAMES
    }
}

struct Table<O>(PhantomData<O>);

impl<O: Operation> Table<O> {
    const SUBJECT: &'static Joined = &Joined::new(&["svc.", O::SERVICE.subject, ".", O::NAME]);
    const RPC_METHOD: &'static Joined = &Joined::new(&[O::SERVICE.subject, "/", O::NAME]);
    const NAMES: Names = {
        assert_token(O::NAME);
        assert!(
            O::NAME.as_bytes()[0] != b'_',
            "names with a leading `_` are the runtime's"
        );
        Names {
            service: O::SERVICE,
            operation: O::NAME,
            subject: Self::SUBJECT.as_str(),
            rpc_method: Self::RPC_METHOD.as_str(),
            idempotent: O::IDEMPOTENT,
        }
    };
}

struct Joined {
    bytes: [u8; CAPACITY],
    length: usize,
}

impl Joined {
    const fn new(parts: &[&str]) -> Self {
        let mut bytes = [0; CAPACITY];
        let mut length = 0;
        let mut part = 0;
        while part < parts.len() {
            let from = parts[part].as_bytes();
            let mut at = 0;
            while at < from.len() {
                bytes[length] = from[at];
                length += 1;
                at += 1;
            }
            part += 1;
        }
        Self { bytes, length }
    }

    const fn as_str(&self) -> &str {
        match std::str::from_utf8(self.bytes.split_at(self.length).0) {
            Ok(joined) => joined,
            Err(_) => unreachable!(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct GetUser;
    impl Operation for GetUser {
        const SERVICE: Service = Service::new("database-service").with_subject("database");
        const NAME: &'static str = "get_user";
        type Request = ();
        type Reply = ();
    }

    #[test]
    fn names_are_joined_by_the_compiler() {
        const NAMES: &Names = Names::of::<GetUser>();
        assert_eq!("svc.database.get_user", NAMES.subject);
        assert_eq!("database/get_user", NAMES.rpc_method);
        assert_eq!("get_user", NAMES.operation);
        assert!(!NAMES.idempotent);
    }
}
