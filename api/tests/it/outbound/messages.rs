//! Messages to people, by a mail server that only listens.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::*;

/// A mail server that takes everything: gives its port and what it was sent.
async fn mail_sink() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mails: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&mails);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                write.write_all(b"220 sink\r\n").await?;
                let mut mail: Option<String> = None;
                while let Some(line) = lines.next_line().await? {
                    if let Some(text) = &mut mail {
                        if line == "." {
                            kept.lock().push(mail.take().unwrap_or_default());
                            write.write_all(b"250 kept\r\n").await?;
                        } else {
                            text.push_str(&line);
                            text.push('\n');
                        }
                        continue;
                    }
                    let answer: &[u8] = match line.split(' ').next() {
                        Some("EHLO") => b"250 sink\r\n",
                        Some("DATA") => {
                            mail = Some(String::new());
                            b"354 go on\r\n"
                        }
                        Some("QUIT") => b"221 bye\r\n",
                        _ => b"250 ok\r\n",
                    };
                    write.write_all(answer).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    (port, mails)
}

#[tokio::test]
async fn people_are_told_by_mail_in_one_piece_and_not_at_night() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let (port, mails) = mail_sink().await;
    let sender = sender(&server, |config| {
        config.mail.host = "127.0.0.1".into();
        config.mail.port = port;
        config.mail.security = api::outbound::config::Security::None;
        config.mail.from = "Forewarn <forewarn@example.com>".into();
    });
    let rule = |change: Value| {
        let mut rule = json!({ "name": "admins", "role": "tenant_admin", "channel": "email", "kinds": ["ticket.created"],
            "min_severity": "warning", "digest_minutes": 15, "time_zone": "UTC" });
        rule.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        rule
    };
    for (pointer, change) in [
        ("/role", json!({ "user_id": plant.admin })),
        ("/channel", json!({ "channel": "pigeon" })),
        ("/webhook_url", json!({ "channel": "webhook" })),
        ("/time_zone", json!({ "time_zone": "Mars/Olympus" })),
        ("/quiet_to", json!({ "quiet_from": "22:00" })),
        (
            "/quiet_from",
            json!({ "quiet_from": "late", "quiet_to": "06:00" }),
        ),
        ("/digest_minutes", json!({ "digest_minutes": -1 })),
        ("/kinds/0", json!({ "kinds": ["everything"] })),
    ] {
        let problem = server
            .post("/v1/notification-rules", &token, rule(change))
            .await
            .refused(422, "invalid-body");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    let made = server
        .post("/v1/notification-rules", &token, rule(json!({})))
        .await
        .expect(201);
    let receiver = Receiver::start().await;
    let hook = json!({ "name": "hook", "channel": "webhook", "webhook_url": receiver.url, "digest_minutes": 0,
                       "min_severity": "critical" });
    server
        .post("/v1/notification-rules", &token, rule(hook))
        .await
        .expect(201);

    let asset = plant.asset.to_string();
    let now = Timestamp::now();
    ticket(&server, &token, &asset, "too small to tell", "low").await;
    ticket(&server, &token, &asset, "a leak", "medium").await;
    ticket(&server, &token, &asset, "a hiss", "high").await;
    let lines = async || {
        let log = server.get("/v1/notifications", &token).await.expect(200);
        log["data"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["line"] != "x")
            .cloned()
            .collect::<Vec<_>>()
    };
    let begun = Instant::now();
    while lines().await.len() < 2 {
        assert!(begun.elapsed() < PATIENCE, "no lines");
        sender.pass(now).await.unwrap();
    }
    assert_eq!(lines().await[0]["held_for"], "digest");
    assert_eq!(mails.lock().len(), 0, "gathered first");
    sender.pass(now.plus_seconds(900.0)).await.unwrap();
    sender.pass(now.plus_seconds(901.0)).await.unwrap();
    {
        let mails = mails.lock();
        assert_eq!(mails.len(), 1, "two lines, one mail: {mails:?}");
        assert!(mails[0].contains(&plant.email("admin")), "{}", mails[0]);
        assert!(
            mails[0].contains("a hiss") && mails[0].contains("a leak"),
            "{}",
            mails[0]
        );
        assert!(!mails[0].contains("too small"), "{}", mails[0]);
    }
    // What is critical leaves at once, by both.
    ticket(&server, &token, &asset, "fire", "critical").await;
    until(&sender, Timestamp::now(), "the critical mail", || {
        mails.lock().len() == 2 && receiver.count() == 1
    })
    .await;
    assert!(mails.lock()[1].contains("fire"));
    assert!(
        receiver.body(0)["data"]["text"]
            .as_str()
            .unwrap()
            .contains("fire")
    );
    let path = format!("/v1/notification-rules/{}", made["id"].as_str().unwrap());
    server
        .call(Method::DELETE, &path, Some(&token), None)
        .await
        .expect(204);
    server.stop().await;
}
