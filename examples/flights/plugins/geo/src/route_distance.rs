//! `route_distance`: the distance between two places named by their codes. The places come through the second input.

use std::collections::{BTreeSet, HashMap};

use odibi_sdk::arrow::array::builder::Float64Builder;
use odibi_sdk::prelude::*;

use crate::columns::{must_be_number, must_be_text, numbers, texts};
use crate::great_circle::default_output;
use crate::sphere::Place;

/// Unknown codes that the story lists; more are counted.
const UNKNOWN_CODES_MAX: usize = 20;

/// Ports, in the order of the inputs.
const ROUTES: usize = 0;
const PLACES: usize = 1;

/// Params of `route_distance`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteDistance {
    /// The table of places. It is held in memory: code and coordinates.
    #[expect(dead_code, reason = "the host resolves the name to the second port")]
    airports: String,
    /// Column with the code of the place a route begins at.
    #[serde(default = "default_from")]
    from: String,
    /// Column with the code of the place it ends at.
    #[serde(default = "default_to")]
    to: String,
    /// Column of the table of places with its code.
    #[serde(default = "default_code")]
    code: String,
    /// Column of the table of places with its latitude, in degrees.
    #[serde(default = "default_lat")]
    lat: String,
    /// Column of the table of places with its longitude, in degrees.
    #[serde(default = "default_lon")]
    lon: String,
    /// Name of the new column.
    #[serde(default = "default_output")]
    output: String,
}

fn default_from() -> String {
    "origin".to_owned()
}

fn default_to() -> String {
    "dest".to_owned()
}

fn default_code() -> String {
    "faa".to_owned()
}

fn default_lat() -> String {
    "lat".to_owned()
}

fn default_lon() -> String {
    "lon".to_owned()
}

impl Operation for RouteDistance {
    const NAME: &'static str = "route_distance";
    const SUMMARY: &'static str =
        "Adds the great-circle distance between the places that two codes name, in kilometres";
    const FURTHER_INPUTS: FurtherInputs = FurtherInputs::One("airports");

    fn examples() -> Vec<Example> {
        vec![Example::new(
            "looks both ends up; null for a code that the table does not have",
            json!({ "airports": "airports" }),
            [
                "flight,origin,dest\n1,A,B\n2,B,B\n3,A,X\n",
                "faa,name,lat,lon\nA,Here,0,0\nB,Opposite,0,180\n",
            ],
            "flight,origin,dest,distance_km\n1,A,B,20015.114442035923\n2,B,B,0.0\n3,A,X,\n",
        )]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let [routes, places] = inputs else {
            return Err(Failure::internal("two inputs are needed"));
        };
        let ends = [
            must_be_text("/from", &self.from, routes)?,
            must_be_text("/to", &self.to, routes)?,
        ];
        let lookup = [
            must_be_text("/code", &self.code, places)?,
            must_be_number("/lat", &self.lat, places)?,
            must_be_number("/lon", &self.lon, places)?,
        ];
        // The routes keep their rows and columns, so only the new column leaves the sandbox.
        let outline = Outline::of(routes)
            .add("/output", Field::new(&self.output, DataType::Float64, true))?;
        Ok(Plan::from(outline)
            .input(ROUTES, InputPlan::only(ends))
            .input(PLACES, InputPlan::only(lookup).drained_first())
            .spread(Spread::Single))
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        Ok(Box::new(Lookup {
            params: self,
            places: HashMap::new(),
            unknown: BTreeSet::new(),
        }))
    }
}

/// The table of places, then the routes past it.
struct Lookup {
    params: RouteDistance,
    /// `None` for a code without coordinates.
    places: HashMap<String, Option<Place>>,
    unknown: BTreeSet<String>,
}

impl Session for Lookup {
    fn process(
        &mut self,
        port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        if port == PLACES {
            self.learn(&batch)?;
            return Ok(Appetite::More);
        }
        let (from, to) = (texts(batch.column(0))?, texts(batch.column(1))?);
        let mut distances = Float64Builder::with_capacity(batch.num_rows());
        for (from, to) in from.zip(to) {
            let ends = self.find(from).zip(self.find(to));
            distances.append_option(ends.map(|(from, to)| from.distance_km(to)));
        }
        out.same_rows(vec![Arc::new(distances.finish())])
    }

    fn finish(&mut self, _out: &mut Output<'_>) -> Result<Option<Value>> {
        let listed: Vec<&String> = self.unknown.iter().take(UNKNOWN_CODES_MAX).collect();
        Ok(Some(json!({
            "places": self.places.len(),
            "unknown_codes": self.unknown.len(),
            "unknown_codes_first": listed,
        })))
    }
}

impl Lookup {
    fn learn(&mut self, batch: &RecordBatch) -> Result<()> {
        let (lat, lon) = (numbers(batch.column(1))?, numbers(batch.column(2))?);
        for (row, code) in texts(batch.column(0))?.enumerate() {
            let Some(code) = code else { continue };
            let place = match (lat.is_valid(row), lon.is_valid(row)) {
                (true, true) => Some(self.place(row, lat.value(row), lon.value(row))?),
                _ => None,
            };
            if self.places.insert(code.to_owned(), place).is_some() {
                let message = format!("code `{code}` stands in the table of places twice");
                return Err(Failure::data(row, &self.params.code, message).code("duplicate-code"));
            }
        }
        Ok(())
    }

    fn place(&self, row: usize, lat: f64, lon: f64) -> Result<Place> {
        let refused = || {
            Failure::data(
                row,
                &self.params.lat,
                format!("no place on earth: {lat}, {lon}"),
            )
        };
        Place::new(lat, lon).ok_or_else(refused)
    }

    /// A code that is null or unknown has no place; an unknown one is remembered for the story.
    fn find(&mut self, code: Option<&str>) -> Option<Place> {
        let code = code?;
        match self.places.get(code) {
            Some(place) => *place,
            None => {
                if !self.unknown.contains(code) {
                    self.unknown.insert(code.to_owned());
                }
                None
            }
        }
    }
}
