use super::*;

fn parse(text: &str) -> Result<Location, String> {
    Location::parse(text, Path::new("/data")).map_err(|e| e.to_string())
}
