//! What the standards refuse and a client's codec lets pass.
//!
//! Walks a packet byte by byte without making anything of it: text is UTF-8 without NUL
//! ([MQTT-1.5.3-1], [MQTT-1.5.3-2]; [MQTT-1.5.4-1], [MQTT-1.5.4-2]), properties stand where they may
//! (5.0, 2.2.2.2), once where they may stand once, with values they may have, and nothing follows
//! the end.

use super::frame::header_len;
use super::{PacketError, Version, malformed, protocol};

/// Where a set of properties stands; the bits of [`PROPERTIES`].
#[derive(Clone, Copy)]
#[repr(u8)]
enum Place {
    Connect = 1,
    Will = 2,
    Publish = 4,
    Acknowledge = 8,
    Subscribe = 16,
    Unsubscribe = 32,
    Disconnect = 64,
}

#[derive(Clone, Copy)]
enum Kind {
    Byte,
    Two,
    Four,
    Variable,
    Text,
    Binary,
    Pair,
}

/// Identifier, type, places (5.0, table 2-4, of what a client sends).
const PROPERTIES: [(u8, Kind, u8); 18] = [
    (0x01, Kind::Byte, 2 | 4),
    (0x02, Kind::Four, 2 | 4),
    (0x03, Kind::Text, 2 | 4),
    (0x08, Kind::Text, 2 | 4),
    (0x09, Kind::Binary, 2 | 4),
    (0x0b, Kind::Variable, 16),
    (0x11, Kind::Four, 1 | 64),
    (0x15, Kind::Text, 1),
    (0x16, Kind::Binary, 1),
    (0x17, Kind::Byte, 1),
    (0x18, Kind::Four, 2),
    (0x19, Kind::Byte, 1),
    (0x1f, Kind::Text, 8 | 64),
    (0x21, Kind::Two, 1),
    (0x22, Kind::Two, 1),
    (0x23, Kind::Two, 4),
    (0x26, Kind::Pair, 127),
    (0x27, Kind::Four, 1),
];

/// The value of a number among the properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub id: u8,
    pub value: u32,
}

struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], PacketError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(n)
            .ok_or_else(|| malformed("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, PacketError> {
        Ok(self.take(1)?[0])
    }

    fn two(&mut self) -> Result<u16, PacketError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn four(&mut self) -> Result<u32, PacketError> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn variable(&mut self) -> Result<u32, PacketError> {
        let mut value = 0;
        for i in 0..4 {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                // [MQTT-1.5.5-1]
                return if i > 0 && byte == 0 {
                    Err(malformed("a number in more bytes than it needs"))
                } else {
                    Ok(value)
                };
            }
        }
        Err(malformed("a number of more than four bytes"))
    }

    fn binary(&mut self) -> Result<&'a [u8], PacketError> {
        let n = self.two()?;
        self.take(n.into())
    }

    fn text(&mut self) -> Result<&'a str, PacketError> {
        let text = std::str::from_utf8(self.binary()?).map_err(malformed)?;
        if text.contains('\0') {
            return Err(malformed("NUL in a text"));
        }
        Ok(text)
    }

    fn end(&self) -> Result<(), PacketError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(malformed("bytes after its end"))
        }
    }

    fn packet_id(&mut self) -> Result<u16, PacketError> {
        match self.two()? {
            0 => Err(malformed("packet identifier 0")),
            id => Ok(id),
        }
    }

    /// Walks a set of properties; `number` hears of each number in it.
    fn properties(&mut self, place: Place, mut number: impl FnMut(Number)) -> Result<(), PacketError> {
        let length = self.variable()? as usize;
        let mut inside = Walk {
            rest: self.take(length)?,
        };
        let (mut seen, mut method, mut data) = (0_u64, false, false);
        while !inside.rest.is_empty() {
            let id = inside.byte()?;
            let (_, kind, places) = PROPERTIES
                .iter()
                .find(|(known, _, _)| *known == id)
                .ok_or_else(|| malformed(format!("property {id:#04x} is none of a client's")))?;
            if places & place as u8 == 0 {
                return Err(protocol(format!("property {id:#04x} doesn't belong here")));
            }
            if !matches!(kind, Kind::Pair) && seen & (1 << id) != 0 {
                return Err(protocol(format!("property {id:#04x} stands there twice")));
            }
            seen |= 1 << id;
            let value = match kind {
                Kind::Byte => inside.byte()?.into(),
                Kind::Two => inside.two()?.into(),
                Kind::Four => inside.four()?,
                Kind::Variable => inside.variable()?,
                Kind::Text => {
                    let text = inside.text()?;
                    if id == 0x08 && text.contains(['+', '#']) {
                        return Err(protocol("a response topic with a wildcard")); // [MQTT-3.3.2-14]
                    }
                    method |= id == 0x15;
                    continue;
                }
                Kind::Binary => {
                    inside.binary()?;
                    data |= id == 0x16;
                    continue;
                }
                Kind::Pair => {
                    inside.text()?;
                    inside.text()?;
                    continue;
                }
            };
            match (id, value) {
                (0x01 | 0x17 | 0x19, 2..) => return Err(protocol(format!("property {id:#04x} = {value}"))),
                (0x0b | 0x21 | 0x27, 0) => return Err(protocol(format!("property {id:#04x} = 0"))),
                (0x23, 0) => return Err(PacketError::AliasZero), // [MQTT-3.3.2-8]
                _ => number(Number { id, value }),
            }
        }
        if data && !method {
            return Err(protocol("authentication data without a method"));
        }
        Ok(())
    }
}

/// CONNECT, from its flags on: `level` is 4 or 5, `body` what stands behind the protocol level.
pub(super) fn connect(version: Version, body: &[u8]) -> Result<(), PacketError> {
    let mut walk = Walk { rest: body };
    let flags = walk.byte()?;
    let (will, user, password) = (flags & 4 != 0, flags & 0x80 != 0, flags & 0x40 != 0);
    if flags & 1 != 0 {
        return Err(malformed("the reserved flag of CONNECT is set")); // [MQTT-3.1.2-3]
    }
    if !will && flags & 0x38 != 0 || flags & 0x18 == 0x18 {
        return Err(malformed("will flags that can't be")); // [MQTT-3.1.2-11], -13 to -15
    }
    if version == Version::V4 && password && !user {
        return Err(malformed("a password without a user name")); // [MQTT-3.1.2-22]
    }
    walk.two()?;
    if version == Version::V5 {
        walk.properties(Place::Connect, |_| ())?;
    }
    walk.text()?;
    if will {
        if version == Version::V5 {
            walk.properties(Place::Will, |_| ())?;
        }
        let topic = walk.text()?;
        if topic.is_empty() || topic.contains(['+', '#']) {
            return Err(malformed("a will needs a topic without wildcards"));
        }
        walk.binary()?;
    }
    if user {
        walk.text()?;
    }
    if password {
        walk.binary()?;
    }
    walk.end()
}

/// What an acknowledgement or a DISCONNECT says; read here because it is walked here anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Short {
    pub packet_id: u16,
    pub reason: u8,
    pub session_expiry: Option<u32>,
}

/// Any packet after CONNECT.
pub(super) fn packet(version: Version, frame: &[u8]) -> Result<Short, PacketError> {
    let first = frame.first().copied().unwrap_or(0);
    let (kind, flags) = (first >> 4, first & 0x0f);
    let wanted = match kind {
        3 => flags,
        6 | 8 | 10 => 2,
        _ => 0,
    };
    if flags != wanted {
        return Err(malformed("reserved flags of the fixed header are set"));
    }
    let mut walk = Walk {
        rest: frame.get(header_len(frame)..).unwrap_or(&[]),
    };
    let v5 = version == Version::V5;
    let mut short = Short::default();
    match kind {
        3 => publish(&mut walk, flags, v5)?,
        4..=7 => {
            short.packet_id = walk.packet_id()?;
            if v5 && !walk.rest.is_empty() {
                short.reason = walk.byte()?;
                let known: &[u8] = match kind {
                    4 | 5 => &[0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
                    _ => &[0, 0x92],
                };
                if !known.contains(&short.reason) {
                    return Err(malformed(format!("reason code {:#04x}", short.reason)));
                }
                if !walk.rest.is_empty() {
                    walk.properties(Place::Acknowledge, |_| ())?;
                }
            }
            walk.end()?;
        }
        8 => subscribe(&mut walk, v5)?,
        10 => {
            walk.packet_id()?;
            if v5 {
                walk.properties(Place::Unsubscribe, |_| ())?;
            }
            if walk.rest.is_empty() {
                return Err(protocol("UNSUBSCRIBE without a filter")); // [MQTT-3.10.3-2]
            }
            while !walk.rest.is_empty() {
                walk.text()?;
            }
        }
        12 => walk.end()?,
        14 => {
            if v5 && !walk.rest.is_empty() {
                short.reason = walk.byte()?;
                let known = [
                    0, 4, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
                ];
                if !known.contains(&short.reason) {
                    return Err(malformed(format!("reason code {:#04x}", short.reason)));
                }
                if !walk.rest.is_empty() {
                    walk.properties(Place::Disconnect, |number| {
                        if number.id == 0x11 {
                            short.session_expiry = Some(number.value);
                        }
                    })?;
                }
            }
            walk.end()?;
        }
        1 => return Err(protocol("a second CONNECT")), // [MQTT-3.1.0-2]
        15 if v5 => return Err(protocol("AUTH without extended authentication")),
        _ => return Err(malformed(format!("a client sends no packet of type {kind}"))),
    }
    Ok(short)
}

fn publish(walk: &mut Walk<'_>, flags: u8, v5: bool) -> Result<(), PacketError> {
    let qos = flags >> 1 & 3;
    if qos == 3 {
        return Err(malformed("QoS 3")); // [MQTT-3.3.1-4]
    }
    if qos == 0 && flags & 8 != 0 {
        return Err(malformed("DUP is set on QoS 0")); // [MQTT-3.3.1-2]
    }
    let topic = walk.text()?;
    if topic.contains(['+', '#']) {
        return Err(malformed("a wildcard in a topic name")); // [MQTT-3.3.2-2]
    }
    if qos > 0 {
        walk.packet_id()?;
    }
    let mut alias = false;
    if v5 {
        walk.properties(Place::Publish, |number| alias |= number.id == 0x23)?;
    }
    if topic.is_empty() && !alias {
        return Err(protocol("a topic name of no characters")); // [MQTT-4.7.3-1]
    }
    Ok(())
}

fn subscribe(walk: &mut Walk<'_>, v5: bool) -> Result<(), PacketError> {
    walk.packet_id()?;
    if v5 {
        walk.properties(Place::Subscribe, |_| ())?;
    }
    if walk.rest.is_empty() {
        return Err(protocol("SUBSCRIBE without a filter")); // [MQTT-3.8.3-3]
    }
    while !walk.rest.is_empty() {
        let filter = walk.text()?;
        let options = walk.byte()?;
        let reserved = if v5 { 0xc0 } else { 0xfc };
        if options & reserved != 0 || options & 3 == 3 {
            return Err(malformed(format!("subscription options {options:#04x}"))); // [MQTT-3.8.3-4]
        }
        if options & 0x30 == 0x30 {
            return Err(protocol("retain handling 3"));
        }
        if options & 4 != 0 && filter.starts_with("$share/") {
            return Err(protocol("No Local on a shared subscription")); // [MQTT-3.8.3-4] of 5.0
        }
    }
    Ok(())
}
