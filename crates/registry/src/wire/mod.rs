//! The words of the protocol, read and written in one place.
//!
//! Pure: nothing here does I/O. Everything that is read comes from the other side and is not trusted.

pub mod condition;
pub mod error;
pub mod extension;
pub mod header;
pub mod link;
pub mod percent;
pub mod query;
pub mod range;
pub mod route;

pub use condition::{ConditionError, ConditionName};
pub use error::{Code, Detail, ErrorBody};
pub use query::Query;
pub use route::{Route, RouteError};
