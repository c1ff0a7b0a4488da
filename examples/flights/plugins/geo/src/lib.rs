//! A third-party plugin: distances on a sphere.
//!
//! - `great_circle` needs the coordinates in columns of its one input, or as numbers.
//! - `route_distance` looks two codes up in a table of places: its second input.

mod columns;
mod great_circle;
mod route_distance;
mod sphere;

odibi_sdk::export!(
    name = "geo",
    columns = [great_circle::GreatCircle],
    operations = [route_distance::RouteDistance],
);
