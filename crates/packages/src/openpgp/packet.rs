//! Packets and the numbers in them (RFC 9580, sections 3 and 4).

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet<'b> {
    pub(super) tag: u8,
    pub(super) body: &'b [u8],
}

/// Takes bytes from the front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'b>(pub(super) &'b [u8]);

impl<'b> Cursor<'b> {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'b [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        let taken = self.take(2)?;
        Ok(u16::from_be_bytes([taken[0], taken[1]]))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        let taken = self.take(4)?;
        Ok(u32::from_be_bytes([taken[0], taken[1], taken[2], taken[3]]))
    }

    /// A number of any length, without leading zeros (section 3.2).
    pub(super) fn number(&mut self) -> Result<&'b [u8], Malformed> {
        let bits = usize::from(self.u16()?);
        let bytes = self.take(bits.div_ceil(8))?;
        let zeros = bytes.iter().position(|byte| *byte != 0);
        Ok(&bytes[zeros.unwrap_or(bytes.len())..])
    }

    pub(super) const fn rest(self) -> &'b [u8] {
        self.0
    }
}

/// Splits bytes into packets. Lengths that are not stated beforehand are refused: only streams have them.
pub(super) fn packets(bytes: &[u8]) -> Result<Vec<Packet<'_>>, Malformed> {
    let mut cursor = Cursor(bytes);
    let mut packets = Vec::new();
    while !cursor.is_empty() {
        let first = cursor.byte()?;
        if first & 0x80 == 0 {
            return Err(Malformed);
        }
        let (tag, length) = if first & 0x40 != 0 {
            (first & 0x3f, new_length(&mut cursor)?)
        } else {
            let length = match first & 3 {
                0 => usize::from(cursor.byte()?),
                1 => usize::from(cursor.u16()?),
                2 => usize::try_from(cursor.u32()?).map_err(|_| Malformed)?,
                _ => return Err(Malformed),
            };
            ((first >> 2) & 0x0f, length)
        };
        let body = cursor.take(length)?;
        packets.push(Packet { tag, body });
    }
    Ok(packets)
}

/// A length of one, two or five bytes, as packets and subpackets have it (sections 4.2.1 and 5.2.3.7).
fn new_length(cursor: &mut Cursor<'_>) -> Result<usize, Malformed> {
    match cursor.byte()? {
        first @ 0..=191 => Ok(usize::from(first)),
        first @ 192..=223 => Ok((usize::from(first) - 192) * 256 + usize::from(cursor.byte()?) + 192),
        255 => usize::try_from(cursor.u32()?).map_err(|_| Malformed),
        _ => Err(Malformed),
    }
}

/// One subpacket of a signature.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subpacket<'b> {
    pub(super) kind: u8,
    pub(super) is_critical: bool,
    pub(super) body: &'b [u8],
}

/// Splits an area of subpackets. There, two bytes of length go up to 254 (section 5.2.3.7).
pub(super) fn subpackets(area: &[u8]) -> Result<Vec<Subpacket<'_>>, Malformed> {
    let mut cursor = Cursor(area);
    let mut found = Vec::new();
    while !cursor.is_empty() {
        let length = match cursor.byte()? {
            first @ 0..=191 => usize::from(first),
            first @ 192..=254 => (usize::from(first) - 192) * 256 + usize::from(cursor.byte()?) + 192,
            255 => usize::try_from(cursor.u32()?).map_err(|_| Malformed)?,
        };
        let mut body = Cursor(cursor.take(length)?);
        let kind = body.byte()?;
        found.push(Subpacket {
            kind: kind & 0x7f,
            is_critical: kind & 0x80 != 0,
            body: body.rest(),
        });
    }
    Ok(found)
}
