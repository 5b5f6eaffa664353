"""Links: presigned URLs that download one object of S3 without credentials, for a while.

- `settings`: where images are
- `link_signer`: signs links to the objects of any bucket
- `url_signer`: signs them with one client of S3

May import `imagefleet.errors`; boto3 where a link is signed, not before.
"""
