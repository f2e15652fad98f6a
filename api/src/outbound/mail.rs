//! E-mail.

use std::time::Duration;

use anyhow::Context;
use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use models::service::config::read_secret_file;
use secrecy::ExposeSecret;

use super::config::{Mail, Security};

/// Sends by one server.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// `None` = no mail server is configured.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub fn new(config: &Mail) -> anyhow::Result<Option<Self>> {
        if config.host.is_empty() {
            return Ok(None);
        }
        type Smtp = AsyncSmtpTransport<Tokio1Executor>;
        let builder = match config.security {
            Security::Starttls => Smtp::starttls_relay(&config.host).context("api.outbound.mail.host")?,
            Security::Tls => Smtp::relay(&config.host).context("api.outbound.mail.host")?,
            Security::None => Smtp::builder_dangerous(&config.host),
        };
        let mut builder = builder.port(config.port).timeout(Some(Duration::from_secs(20)));
        if !config.user.is_empty() {
            let password = match &config.password_file {
                Some(path) => read_secret_file(path)?,
                None => config.password.clone(),
            };
            builder = builder.credentials(Credentials::new(
                config.user.clone(),
                password.expose_secret().to_owned(),
            ));
        }
        Ok(Some(Self {
            transport: builder.build(),
            from: config
                .from
                .parse()
                .context("api.outbound.mail.from is not a mail address")?,
        }))
    }

    /// # Errors
    /// When the address can't be used or the server doesn't take it.
    pub async fn send(&self, to: &str, subject: &str, text: String) -> anyhow::Result<()> {
        let message = Message::builder()
            .from(self.from.clone())
            .to(to.parse().context("the recipient is not a mail address")?)
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text)?;
        self.transport.send(message).await?;
        Ok(())
    }
}
