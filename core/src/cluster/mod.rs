//! Metadata records, the image that they fold into, and the controller's decisions.
