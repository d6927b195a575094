//! Content stores: conference files in a folder (later an S3 bucket or an Azure container).
