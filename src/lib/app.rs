//! The reference application: a gateway, and user, database and notification services.
//!
//! It uses the runtime as any team would; nothing outside this module and [`crate::cli`] knows its
//! services.

pub mod api;
pub(crate) mod config;
pub(crate) mod database;
pub(crate) mod gateway;
mod note;
pub(crate) mod notification;
pub(crate) mod process;
pub(crate) mod user;
