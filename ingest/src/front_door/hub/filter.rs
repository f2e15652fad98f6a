//! Topic names and filters ([MQTT-4.7]).

pub use models::wire::is_filter as valid;

/// `$share/{group}/{filter}` as group and filter; `None` = not shared. A group has a name without
/// wildcards and a filter behind it ([MQTT-4.8.2-1], [MQTT-4.8.2-2]).
///
/// # Errors
/// When it starts like a shared subscription and is none.
#[expect(
    clippy::result_unit_err,
    reason = "there is one way to be wrong, and the caller has its own words for it"
)]
pub fn shared(filter: &str) -> Result<Option<(&str, &str)>, ()> {
    let Some(rest) = filter.strip_prefix("$share/") else {
        return if filter == "$share" { Err(()) } else { Ok(None) };
    };
    match rest.split_once('/') {
        Some((group, inner)) if !group.is_empty() && !group.contains(['+', '#']) && !inner.is_empty() => {
            Ok(Some((group, inner)))
        }
        _ => Err(()),
    }
}

/// Whether `topic` matches `filter`; both are valid. A wildcard at the start doesn't match a topic
/// that begins with `$` ([MQTT-4.7.2-1]).
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic = topic.split('/');
    let mut filter = filter.split('/');
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Whether everything that `wanted` matches is matched by `granted`; both are valid.
pub fn covers(granted: &str, wanted: &str) -> bool {
    if wanted.starts_with('$') && granted.starts_with(['+', '#']) {
        return false;
    }
    let mut granted = granted.split('/');
    let mut wanted = wanted.split('/');
    loop {
        match (granted.next(), wanted.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(a), Some(b)) if a == b => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn filters_match() {
        for (filter, topic, expect) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/#", "a/b/c", true),
            ("a/#", "a", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("+", "/a", false),
            ("/+", "/a", true),
            ("+/+", "/a", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("a/+/c", "a/é/c", true),
            ("A", "a", false),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a b", "a b", true),
        ] {
            assert_eq!(matches(filter, topic), expect, "{filter} {topic}");
        }
    }

    #[test]
    fn filters_are_valid_or_not() {
        for good in ["#", "+", "a/#", "+/b/#", "/", "a//b", "$SYS/#", " "] {
            assert!(valid(good), "{good}");
        }
        for bad in ["", "a/#/b", "a#", "a+/b", "#/", "a\0"] {
            assert!(!valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn shared_filters_are_taken_apart() {
        assert_eq!(shared("a/b"), Ok(None));
        assert_eq!(shared("$share/g/a/#"), Ok(Some(("g", "a/#"))));
        for bad in [
            "$share",
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/g+/a",
        ] {
            assert_eq!(shared(bad), Err(()), "{bad}");
        }
    }

    proptest! {
        /// The meaning of `covers`: no topic gets through the wanted filter that the granted one holds back.
        #[test]
        #[test]
        fn what_is_covered_matches_nothing_more(
            granted in "(a|b|\\+)(/(a|b|\\+)){0,3}(/#)?", wanted in "(a|b|\\+)(/(a|b|\\+)){0,3}(/#)?",
            topic in "(a|b|\\$c)(/(a|b|)){0,4}",
        ) {
            if covers(&granted, &wanted) && matches(&wanted, &topic) {
                prop_assert!(matches(&granted, &topic));
            }
            prop_assert!(covers(&granted, &granted) && covers("#", &wanted));
        }
    }
}
