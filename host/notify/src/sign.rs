//! Signatures of webhooks, as Standard Webhooks (standardwebhooks.com) has them: `v1,` and the HMAC-SHA256 of
//! `id.timestamp.body` in Base64. Libraries that check them exist for most languages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use odibi_plan::plan::Secret;
use sha2::Sha256;

/// A key that begins so is Base64; any other is its own bytes.
const PREFIX: &str = "whsec_";

/// The value of the header `webhook-signature`.
pub(crate) fn signature(key: &Secret, id: &str, timestamp: i64, body: &str) -> String {
    let text = key.expose();
    let decoded = text
        .strip_prefix(PREFIX)
        .and_then(|encoded| STANDARD.decode(encoded).ok());
    let bytes = decoded.unwrap_or_else(|| text.as_bytes().to_vec());
    let mut mac = Hmac::<Sha256>::new_from_slice(&bytes).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_that_of_the_specification() {
        // The example of the libraries of Standard Webhooks.
        let key = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signed = signature(
            &key,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn key_without_the_prefix_is_its_own_bytes() {
        let plain = signature(&Secret::new("secret"), "a", 1, "b");
        let coded = signature(&Secret::new("whsec_c2VjcmV0"), "a", 1, "b");
        assert_eq!(plain, coded);
        assert_ne!(plain, signature(&Secret::new("Secret"), "a", 1, "b"));
        assert_ne!(plain, signature(&Secret::new("secret"), "a", 2, "b"));
        assert_ne!(plain, signature(&Secret::new("secret"), "a", 1, "c"));
    }
}
