//! What proves to a registry who we are: passwords, and tokens of its token server.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::{Method, StatusCode};

use super::Client;
use crate::registry::challenge::Challenge;
use crate::registry::http::{Content, Http, is_loopback, origin};
use crate::registry::{Credentials, RegistryError};

impl Client {
    /// An Authorization header that answers one of the challenges, if there is one.
    pub(super) fn authorize(
        &self,
        challenges: &[Challenge],
        wanted: &str,
    ) -> Result<Option<String>, RegistryError> {
        for challenge in challenges {
            let (header, life) = match (challenge, &self.options.credentials) {
                (Challenge::Basic, Some(Credentials::Password { user, password })) => {
                    (basic(user, password), Duration::from_secs(86_400))
                }
                (Challenge::Basic, _) => continue,
                (Challenge::Bearer { realm, service, scope }, _) => {
                    let scope = if wanted.is_empty() { scope.as_deref() } else { Some(wanted) };
                    let (token, life) = self.token(realm, service.as_deref(), scope)?;
                    (format!("Bearer {token}"), life)
                }
            };
            let end = Instant::now() + life;
            self.state().tokens.insert(wanted.to_owned(), (header.clone(), end));
            return Ok(Some(header));
        }
        Ok(None)
    }

    /// Fetches a bearer token (distribution "Token Authentication Specification").
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<(String, Duration), RegistryError> {
        let parsed = origin(realm);
        let (scheme, host, _) =
            parsed.ok_or_else(|| self.protocol(format!("token server {realm:?} is not a URL")))?;
        if scheme != "https" && !self.insecure && !is_loopback(&host) {
            return Err(self.protocol(format!("token server {host} without TLS")));
        }
        // That this registry is loopback's says nothing of the token server, which gets
        // the password: its certificate is checked unless the user said otherwise.
        let other;
        let http = match origin(&self.base()?).is_some_and(|(_, own, _)| own == host) {
            true => &self.http,
            false => {
                let insecure = self.options.insecure || is_loopback(&host);
                other = Http::new(&host, insecure, self.options.limits);
                &other
            }
        };
        let mut pairs = Vec::new();
        pairs.extend(service.map(|service| ("service", service)));
        pairs.extend(scope.map(|scope| ("scope", scope)));
        let answer = match &self.options.credentials {
            Some(Credentials::IdentityToken(token)) => {
                pairs.push(("grant_type", "refresh_token"));
                pairs.push(("client_id", "husk"));
                pairs.push(("refresh_token", token));
                let kind = ("content-type", "application/x-www-form-urlencoded".to_owned());
                let form = encode(&pairs);
                http.send(&Method::POST, realm, &[kind], Content::Bytes(form.as_bytes()))?
            }
            credentials => {
                let mut headers = Vec::new();
                if let Some(Credentials::Password { user, password }) = credentials {
                    pairs.push(("account", user));
                    headers.push(("authorization", basic(user, password)));
                }
                let joint = if realm.contains('?') { '&' } else { '?' };
                let url = format!("{realm}{joint}{}", encode(&pairs));
                http.send(&Method::GET, &url, &headers, Content::None)?
            }
        };
        if answer.status != StatusCode::OK {
            return Err(self.failure(answer, "a token"));
        }
        let bytes = answer.bytes(&self.registry, 1 << 20)?;
        let answer: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|_| self.protocol(format!("token server {host} does not answer JSON")))?;
        let text = |name: &str| answer.get(name).and_then(serde_json::Value::as_str);
        let token = text("token").or_else(|| text("access_token"));
        let token = token.filter(|token| token.bytes().all(|b| b.is_ascii_graphic()));
        let token =
            token.ok_or_else(|| self.protocol(format!("token server {host} gives no token")))?;
        let life = answer.get("expires_in").and_then(serde_json::Value::as_u64).unwrap_or(60);
        // A margin for what is under way when it ends.
        Ok((token.to_owned(), Duration::from_secs(life.min(86_400).saturating_sub(10))))
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// `application/x-www-form-urlencoded`.
fn encode(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(key);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    text.push(char::from(byte));
                }
                other => text.push_str(&format!("%{other:02X}")),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded() {
        let pairs = [("scope", "repository:a/b:pull,push"), ("x", "a b&c=ä")];
        assert_eq!(encode(&pairs), "scope=repository%3Aa%2Fb%3Apull%2Cpush&x=a%20b%26c%3D%C3%A4");
        assert_eq!(basic("u", "p"), "Basic dTpw");
    }
}
