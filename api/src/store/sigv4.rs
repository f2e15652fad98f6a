//! AWS Signature Version 4, by headers, as far as one request without parts needs it.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::hex;

/// What is signed.
pub(super) struct Request<'a> {
    pub method: &'a str,
    /// As it stands in the request line, see [`encoded`].
    pub path: &'a str,
    /// `name=value` pairs, encoded, sorted by name, joined by `&`.
    pub query: &'a str,
    /// Lower-case names, sorted; `host` and all `x-amz-…` must be there.
    pub headers: &'a [(&'a str, &'a str)],
    /// SHA-256 of the body, hexadecimal.
    pub payload: &'a str,
}

/// Who signs, for which place.
pub(super) struct Signer<'a> {
    pub access_key_id: &'a str,
    pub secret_access_key: &'a str,
    pub region: &'a str,
    pub service: &'a str,
}

impl Signer<'_> {
    /// The header `Authorization`; `at` is `x-amz-date`: `20130524T000000Z`.
    pub fn authorization(&self, request: &Request<'_>, at: &str) -> String {
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let day = at.get(..8).unwrap_or(at);
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!(
            "AWS4-HMAC-SHA256\n{at}\n{scope}\n{}",
            hex(&Sha256::digest(canonical(request, &names)))
        );
        let signature = hex(&mac(&self.key(day), &text));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
            self.access_key_id
        )
    }

    fn key(&self, day: &str) -> [u8; 32] {
        let secret = format!("AWS4{}", self.secret_access_key);
        let key = mac(secret.as_bytes(), day);
        let key = mac(&key, self.region);
        let key = mac(&key, self.service);
        mac(&key, "aws4_request")
    }
}

fn canonical(request: &Request<'_>, names: &str) -> String {
    let headers: String = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    let Request {
        method,
        path,
        query,
        payload,
        ..
    } = request;
    format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{payload}")
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// A path as S3 wants it signed and sent: everything but unreserved characters and slashes by its bytes.
pub(super) fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const HOST: (&str, &str) = ("host", "examplebucket.s3.amazonaws.com");
    const DATE: (&str, &str) = ("x-amz-date", "20130524T000000Z");

    fn signed(method: &str, path: &str, query: &str, headers: &[(&str, &str)], payload: &str) -> String {
        let signer = Signer {
            access_key_id: "AKIAIOSFODNN7EXAMPLE",
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
            service: "s3",
        };
        let request = Request {
            method,
            path,
            query,
            headers,
            payload,
        };
        let text = signer.authorization(&request, DATE.1);
        text.rsplit('=').next().unwrap_or_default().to_owned()
    }

    /// The four examples of the page named above.
    #[test]
    fn the_documents_examples() {
        let sha = ("x-amz-content-sha256", EMPTY);
        let range = ("range", "bytes=0-9");
        assert_eq!(
            signed("GET", "/test.txt", "", &[HOST, range, sha, DATE], EMPTY),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let body = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
        assert_eq!(hex(&Sha256::digest("Welcome to Amazon S3.")), body);
        let headers = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            HOST,
            ("x-amz-content-sha256", body),
            DATE,
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        assert_eq!(
            signed("PUT", &encoded("/test$file.text"), "", &headers, body),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            signed("GET", "/", "lifecycle=", &[HOST, sha, DATE], EMPTY),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signed("GET", "/", "max-keys=2&prefix=J", &[HOST, sha, DATE], EMPTY),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    /// The derived key that AWS' general reference gives.
    #[test]
    fn the_documents_signing_key() {
        let signer = Signer {
            access_key_id: "",
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
            service: "iam",
        };
        assert_eq!(
            hex(&signer.key("20150830")),
            "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
        );
    }

    #[test]
    fn paths_are_sent_as_they_are_signed() {
        assert_eq!(encoded("/a b/ü$~-_.txt"), "/a%20b/%C3%BC%24~-_.txt");
    }
}
