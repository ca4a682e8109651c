//! M12: what the controller has confirmed is so for whoever looks later.
//!
//! A topic whose creation was confirmed is in the committed metadata, with all its partitions, until somebody asks for its
//! deletion; one whose deletion was confirmed never comes back, and its id is never used again.

use std::collections::{BTreeMap, BTreeSet};

use tidelog_core::{
    cluster::Image,
    ids::{TopicId, TopicName},
    message::{Request, Response, TopicRef},
};

use super::{Violation, violation};

const CODE: &str = "M12";

/// What was confirmed, and what any image ever had.
#[derive(Clone, Debug, Default)]
pub struct Book {
    names: BTreeMap<TopicId, TopicName>,
    sizes: BTreeMap<TopicName, usize>,
    created: BTreeMap<TopicId, TopicName>,
    deleted: BTreeSet<TopicId>,
    /// Whose deletion somebody has asked for, confirmed or not.
    doomed: BTreeSet<TopicName>,
}

impl Book {
    /// Somebody asks for something.
    pub fn asked(&mut self, request: &Request, image: &Image) {
        if let Request::DeleteTopics(request) = request {
            let name = |topic: &TopicRef| match topic {
                TopicRef::Name(name) => Some(name.clone()),
                TopicRef::Id(_) => image.resolve(topic).map(|topic| topic.name.clone()),
            };
            self.doomed.extend(request.topics.iter().filter_map(name));
        }
    }

    /// A node has folded the metadata up to here.
    pub fn folded(&mut self, image: &Image) -> Result<(), Violation> {
        for topic in image.topics() {
            let name = self.names.entry(topic.id).or_insert_with(|| topic.name.clone());
            if *name != topic.name {
                let why = format!("it is the id of {} and was that of {name}", topic.name);
                return Err(violation(CODE, "id-used-again", topic.id, why));
            }
            let size = self.sizes.entry(topic.name.clone()).or_default();
            *size = topic.partitions.len().max(*size);
        }
        Ok(())
    }

    /// The controller confirms something; its own image is folded as far as it goes.
    pub fn confirmed(&mut self, request: &Request, response: &Response) -> Result<(), Violation> {
        match (request, response) {
            (Request::CreateTopics(asked), Response::CreateTopics(answer)) if !asked.validate_only => {
                for made in answer.topics.iter().filter(|made| made.error.is_none()) {
                    if !self.names.contains_key(&made.id) {
                        let why = format!("the creation of {} is confirmed, and no image has had it", made.name);
                        return Err(violation(CODE, "confirmed-before-committed", &made.name, why));
                    }
                    self.created.insert(made.id, made.name.clone());
                }
            }
            (Request::DeleteTopics(_), Response::DeleteTopics(answer)) => {
                self.deleted.extend(answer.topics.iter().filter(|gone| gone.error.is_none()).map(|gone| gone.id));
            }
            (Request::CreatePartitions(asked), Response::CreatePartitions(answer)) if !asked.validate_only => {
                for (wanted, made) in asked.topics.iter().zip(&answer.topics) {
                    let size = self.sizes.get(&made.name).copied().unwrap_or(0);
                    if made.error.is_none() && size < wanted.total.max(0) as usize {
                        let why =
                            format!("{} partitions are confirmed, no image has had more than {size}", wanted.total);
                        return Err(violation(CODE, "confirmed-before-committed", &made.name, why));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The controller's image at the end has what was confirmed.
    pub fn judge(&self, image: &Image) -> Result<(), Violation> {
        for (id, name) in &self.created {
            if image.topic(*id).is_none() && !self.doomed.contains(name) {
                let why = format!("the creation of {name} was confirmed, and it is not there");
                return Err(violation(CODE, "creation-lost", name, why));
            }
        }
        match self.deleted.iter().find(|id| image.topic(**id).is_some()) {
            Some(id) => {
                Err(violation(CODE, "deletion-lost", id, "it was confirmed, and the topic is there".to_owned()))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidelog_core::{
        cluster::{Image, MetadataRecord},
        message::{CreateTopicsRequest, CreateTopicsResponse, CreatedTopic, ErrorCode},
        time::Duration,
    };

    use super::*;

    const ID: TopicId = TopicId([7; 16]);

    fn create(book: &mut Book) -> Result<(), &'static str> {
        let request = CreateTopicsRequest { topics: Vec::new(), validate_only: false, timeout: Duration::ZERO };
        let made = CreatedTopic {
            name: TopicName::new("a"),
            error: ErrorCode::None,
            message: None,
            id: ID,
            partitions: 1,
            replication_factor: 1,
            configs: Vec::new(),
        };
        let response = CreateTopicsResponse { topics: vec![made] };
        let (request, response) = (Request::CreateTopics(request), Response::CreateTopics(response));
        book.confirmed(&request, &response).map_err(|violation| violation.anomaly)
    }

    fn image(name: &str) -> Image {
        let mut image = Image::default();
        image.apply(&MetadataRecord::TopicCreated { id: ID, name: TopicName::new(name) });
        image
    }

    #[test]
    fn what_is_confirmed_was_committed_before() {
        let mut book = Book::default();
        assert_eq!(create(&mut book), Err("confirmed-before-committed"));
        book.folded(&image("a")).expect("it is the first");
        assert_eq!(create(&mut book), Ok(()));
        assert!(book.judge(&image("a")).is_ok());
        let lost = book.judge(&Image::default()).map_err(|violation| violation.anomaly);
        assert_eq!(lost, Err("creation-lost"));
        book.doomed.insert(TopicName::new("a"));
        assert!(book.judge(&Image::default()).is_ok(), "somebody wanted it gone");
    }

    #[test]
    fn what_is_deleted_stays_so_and_its_id_unused() {
        let mut book = Book::default();
        book.folded(&image("a")).expect("it is the first");
        book.deleted.insert(ID);
        assert_eq!(book.judge(&image("a")).map_err(|violation| violation.anomaly), Err("deletion-lost"));
        assert_eq!(book.folded(&image("b")).map_err(|violation| violation.anomaly), Err("id-used-again"));
    }
}
