//! Which failure mode a deviation looks like: the one whose channels carry most of it.

use models::db::assessment::ModeFacts;

use crate::detect::{ChannelVerdict, Detection};

/// A mode must explain this share of what is unusual to be named.
const LEAST_SHARE: f64 = 0.3;

/// Place of the likeliest mode; `None` when nothing is unusual or no mode explains it.
pub fn likeliest(modes: &[ModeFacts], detection: &Detection) -> Option<usize> {
    let shares = detection.shares();
    let title = |place: usize| {
        detection
            .channels
            .iter()
            .find(|verdict| verdict.channel == shares[place].0)
    };
    let explained = |mode: &ModeFacts| -> f64 {
        (0..shares.len())
            .filter(|place| title(*place).is_some_and(|verdict| shows_in(mode, verdict)))
            .map(|place| shares[place].1)
            .sum()
    };
    (0..modes.len())
        .map(|place| (explained(&modes[place]), place))
        .filter(|(share, _)| *share >= LEAST_SHARE)
        // The narrower signature wins a tie: it says more.
        .max_by(|a, b| {
            a.0.total_cmp(&b.0)
                .then_with(|| {
                    modes[b.1]
                        .signature
                        .channels
                        .len()
                        .cmp(&modes[a.1].signature.channels.len())
                })
                .then_with(|| b.1.cmp(&a.1))
        })
        .map(|(_, place)| place)
}

/// Whether the mode shows in that channel.
pub fn shows_in(mode: &ModeFacts, verdict: &ChannelVerdict) -> bool {
    mode.signature
        .channels
        .iter()
        .any(|pattern| matches(pattern, &verdict.title, &verdict.name))
}

fn matches(pattern: &str, title: &str, name: &str) -> bool {
    glob(&pattern.to_lowercase(), &title.to_lowercase())
        || glob(&pattern.to_lowercase(), &name.to_lowercase())
}

/// `*` stands for any text, everything else for itself.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or("");
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expect) in [
            ("vibration*", "vibration_de", true),
            ("vibration*", "bearing_vibration", false),
            ("*dp*", "filter_dp_bar", true),
            ("*temperature", "bearing_temperature", true),
            ("*temperature", "bearing_temperature_2", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b", "a", false),
            ("flow", "flow", true),
            ("*", "", true),
        ] {
            assert_eq!(glob(pattern, text), expect, "{pattern} {text}");
        }
    }
}
