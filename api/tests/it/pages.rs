//! The embedded pages, built or not.

use crate::harness::Server;

#[tokio::test]
async fn whatever_is_no_file_is_the_application() {
    let server = Server::start().await;
    let get = async |path: &str| server.http.get(server.url(path)).send().await.unwrap();
    let index = get("/").await;
    assert_eq!(index.status(), 200);
    let built = index.headers()["content-type"]
        .to_str()
        .unwrap()
        .starts_with("text/html");
    let tag = index.headers().get("etag").cloned();
    let text = index.text().await.unwrap();
    // A route of the application answers with the same.
    assert_eq!(get("/assets-of-mine/7").await.text().await.unwrap(), text);
    // A file that is missing is missing.
    let missing = get("/assets/no-such-file.js").await;
    assert_eq!(missing.status(), 404);
    assert_eq!(missing.headers()["content-type"], "application/problem+json");
    assert_eq!(
        server.http.post(server.url("/")).send().await.unwrap().status(),
        405
    );
    if built {
        let again = server
            .http
            .get(server.url("/"))
            .header("if-none-match", tag.unwrap())
            .send()
            .await
            .unwrap();
        assert_eq!(again.status(), 304);
        let file = text
            .split("/assets/")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .expect("a bundled file");
        let file = get(&format!("/assets/{file}")).await;
        assert!(
            file.headers()["cache-control"]
                .to_str()
                .unwrap()
                .contains("immutable")
        );
    } else {
        assert!(text.contains("npm run build"), "{text}");
    }
    server.stop().await;
}
