//! One partition as its leader runs it: watermarks, admission of producers' batches, parked reads and acknowledgements.
