//! Lists: a bounded page and an opaque cursor to the next one.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Problem;

pub const MOST: u32 = 200;
pub const USUAL: u32 = 50;

/// Part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// Give it as `cursor` to get what follows; `null` at the end.
    pub next_cursor: Option<String>,
    pub has_more: bool,
}

/// How many rows were asked for.
///
/// # Errors
/// 400 unless it is 1 to 200.
pub fn limit(asked: Option<u32>) -> Result<i64, Problem> {
    match asked.unwrap_or(USUAL) {
        limit @ 1..=MOST => Ok(i64::from(limit)),
        other => Err(Problem::query("limit", format!("{other} is not 1 to {MOST}"))),
    }
}

#[derive(Serialize, Deserialize)]
struct Cursor<K> {
    /// Which list and order it belongs to: another one's cursor is refused instead of misread.
    l: String,
    k: K,
}

/// # Errors
/// 400 when the text is no cursor of this list.
pub fn read_cursor<K: DeserializeOwned>(list: &str, cursor: Option<&str>) -> Result<Option<K>, Problem> {
    let Some(text) = cursor.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Cursor<K>>(&bytes).ok())
        .filter(|cursor| cursor.l == list)
        .map(|cursor| Some(cursor.k))
        .ok_or_else(|| Problem::query("cursor", "not a next_cursor of this list"))
}

fn write_cursor(list: &str, key: impl Serialize) -> Option<String> {
    let bytes = serde_json::to_vec(&Cursor {
        l: list.to_owned(),
        k: key,
    })
    .ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

impl<T> Page<T> {
    /// From `limit + 1` rows, or fewer at the end.
    pub fn of<R, K: Serialize>(
        list: &str,
        limit: i64,
        mut rows: Vec<R>,
        key: impl Fn(&R) -> K,
        view: impl Fn(R) -> T,
    ) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows
            .last()
            .filter(|_| has_more)
            .and_then(|row| write_cursor(list, key(row)));
        Self {
            data: rows.into_iter().map(view).collect(),
            next_cursor,
            has_more,
        }
    }

    /// A list that is always whole.
    pub fn whole(data: Vec<T>) -> Self {
        Self {
            data,
            next_cursor: None,
            has_more: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_belongs_to_its_list() {
        let page = Page::of("assets", 2, vec![1, 2, 3], |row| (*row, "x"), |row| row);
        assert_eq!(page.data, [1, 2]);
        assert!(page.has_more);
        let cursor = page.next_cursor.as_deref();
        assert_eq!(
            read_cursor::<(i32, String)>("assets", cursor).unwrap(),
            Some((2, "x".into()))
        );
        assert!(read_cursor::<(i32, String)>("tickets", cursor).is_err());
        assert!(read_cursor::<(i32, String)>("assets", Some("%%%")).is_err());
        assert_eq!(read_cursor::<i32>("assets", None).unwrap(), None);
        let last = Page::of("assets", 3, vec![1, 2, 3], |row| *row, |row| row);
        assert_eq!((last.has_more, last.next_cursor), (false, None));
    }

    #[test]
    fn limits_are_one_to_two_hundred() {
        assert_eq!(limit(None).unwrap(), 50);
        assert_eq!(limit(Some(200)).unwrap(), 200);
        assert!(limit(Some(0)).is_err());
        assert!(limit(Some(201)).is_err());
    }
}
