//! `great_circle`: the distance between two places in each row.

use odibi_sdk::arrow::array::Float64Array;
use odibi_sdk::arrow::array::builder::Float64Builder;
use odibi_sdk::prelude::*;

use crate::columns::{must_be_number, numbers};
use crate::sphere::Place;

/// Params of `great_circle`. Each coordinate is the name of a column or a number, in degrees.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GreatCircle {
    /// Latitude of the first place.
    lat1: Coordinate,
    /// Longitude of the first place.
    lon1: Coordinate,
    /// Latitude of the second place.
    lat2: Coordinate,
    /// Longitude of the second place.
    lon2: Coordinate,
    /// Name of the new column.
    #[serde(default = "default_output")]
    output: String,
}

/// Degrees, from a column or the same for every row.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Coordinate {
    Degrees(f64),
    Column(String),
}

impl Coordinate {
    /// The column to blame for a value.
    fn name(&self) -> &str {
        match self {
            Self::Degrees(_) => "",
            Self::Column(name) => name,
        }
    }
}

/// The default name of the new column.
pub(crate) fn default_output() -> String {
    "distance_km".to_owned()
}

impl GreatCircle {
    fn coordinates(&self) -> [(&'static str, &Coordinate); 4] {
        [
            ("lat1", &self.lat1),
            ("lon1", &self.lon1),
            ("lat2", &self.lat2),
            ("lon2", &self.lon2),
        ]
    }
}

impl Columns for GreatCircle {
    const NAME: &'static str = "great_circle";
    const SUMMARY: &'static str =
        "Adds the great-circle distance between two places, in kilometres";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "to the other side of the earth and back; null without a coordinate",
                json!({ "lat1": "a_lat", "lon1": "a_lon", "lat2": "b_lat", "lon2": "b_lon" }),
                ["a_lat,a_lon,b_lat,b_lon\n0,0,0,180\n5,6,5,6\n0,,0,1\n"],
                "a_lat,a_lon,b_lat,b_lon,distance_km\n0,0,0,180,20015.114442035923\n5,6,5,6,0.0\n0,,0,1,\n",
            ),
            Example::new(
                "how far from the north pole",
                json!({ "lat1": "lat", "lon1": "lon", "lat2": 90, "lon2": 0, "output": "to_pole_km" }),
                ["lat,lon\n90,0\n-90,0\n"],
                "lat,lon,to_pole_km\n90,0,0.0\n-90,0,20015.114442035923\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let mut outline = Outline::of(input);
        for (param, coordinate) in self.coordinates() {
            if let Coordinate::Column(name) = coordinate {
                let pointer = format!("/{param}");
                must_be_number(&pointer, name, input)?;
                outline = outline.read(&pointer, name)?;
            }
        }
        outline.add("/output", Field::new(&self.output, DataType::Float64, true))
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let mut columns = batch.columns().iter();
        let mut sources = Vec::with_capacity(4);
        for (param, coordinate) in self.coordinates() {
            sources.push(match coordinate {
                Coordinate::Degrees(degrees) => Source::Same(*degrees),
                Coordinate::Column(_) => Source::Column(match columns.next() {
                    Some(column) => numbers(column)?,
                    None => {
                        return Err(Failure::internal(format!(
                            "the column of `{param}` was not sent"
                        )));
                    }
                }),
            });
        }
        let [lat1, lon1, lat2, lon2] = &sources[..] else {
            return Err(Failure::internal("four coordinates are needed"));
        };
        let mut distances = Float64Builder::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let from = place(row, lat1, lon1, self.lat1.name())?;
            let to = place(row, lat2, lon2, self.lat2.name())?;
            distances.append_option(from.zip(to).map(|(from, to)| from.distance_km(to)));
        }
        Ok(vec![Arc::new(distances.finish())])
    }
}

/// The values of one coordinate in a batch.
enum Source {
    Same(f64),
    Column(Float64Array),
}

impl Source {
    fn at(&self, row: usize) -> Option<f64> {
        match self {
            Self::Same(degrees) => Some(*degrees),
            Self::Column(column) => column.is_valid(row).then(|| column.value(row)),
        }
    }
}

/// `None` where a coordinate is null; a failure of the data where it is on no globe.
fn place(row: usize, lat: &Source, lon: &Source, lat_column: &str) -> Result<Option<Place>> {
    let (Some(lat), Some(lon)) = (lat.at(row), lon.at(row)) else {
        return Ok(None);
    };
    let place = Place::new(lat, lon);
    place
        .map(Some)
        .ok_or_else(|| Failure::data(row, lat_column, format!("no place on earth: {lat}, {lon}")))
}
