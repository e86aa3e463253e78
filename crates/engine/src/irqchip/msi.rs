//! Message-signalled interrupts: a write to 0xFEEx_xxxx is an interrupt message (Intel SDM vol 3,
//! 11.11; PCI 3.0, 6.8).

use super::message::{Delivery, Destination, Message};

/// The message that writing `data` to `address` sends; `None` when it means nothing.
pub(super) fn decode(address: u64, data: u32) -> Option<Message> {
    if address >> 20 != 0xFEE {
        return None;
    }
    let delivery = Delivery::from_register(data)?;
    let level = data & (1 << 15) != 0;
    let assert = data & (1 << 14) != 0;
    if level && !assert {
        return None;
    }
    // The SDM ties the destination mode bit to the redirection hint; hardware and guests use it
    // on its own, so the hint has no effect.
    let logical = address & (1 << 2) != 0;
    Some(Message {
        vector: data as u8,
        delivery,
        level: level && delivery.has_vector(),
        destination: Destination::from_byte((address >> 12) as u8, logical),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_carries_vector_mode_and_destination() {
        let message = decode(0xFEE0_3000, 0x0041).unwrap();
        assert_eq!(message.vector, 0x41);
        assert_eq!(message.delivery, Delivery::Fixed);
        assert_eq!(message.destination, Destination::Physical(3));
        assert!(!message.level);
        let message = decode(0xFEE0_5004, 0xC141).unwrap();
        assert_eq!(message.delivery, Delivery::LowestPriority);
        assert_eq!(message.destination, Destination::Logical(5));
        assert!(message.level);
        assert_eq!(
            decode(0xFEEF_F000, 0x0430).unwrap().destination,
            Destination::All
        );
    }

    #[test]
    fn what_means_nothing_is_not_a_message() {
        assert_eq!(decode(0xFED0_0000, 0x41), None);
        assert_eq!(decode(0x1_FEE0_0000, 0x41), None);
        assert_eq!(decode(0xFEE0_0000, 0x0341), None);
        assert_eq!(decode(0xFEE0_0000, 0x8041), None);
    }
}
