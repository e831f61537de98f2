#[tokio::test]
async fn neighbors_then_portcullis() {
    neighbors::jsonwebtoken_works();
    neighbors::rustls_works();
    neighbors::portcullis_works().await;
}
