#[tokio::test]
async fn portcullis_then_neighbors() {
    neighbors::portcullis_works().await;
    neighbors::jsonwebtoken_works();
    neighbors::rustls_works();
    neighbors::portcullis_works().await;
}
