"""Storage: image files and manifests in S3.

- `image_files`: an image as PNG, WebP or JPEG, with the parameters that made it
- `parameters_text`: those parameters as JSON of a limited size
- `provenance`: what a file says of where it comes from; `c2pa_signer`, `c2pa_key`: signed, as C2PA has it
- `bucket`: uploads files and writes the manifest once
- `made_images`, `spool`: what an attempt has to store; files that wait on disk for S3
- `objects`: what lies in the bucket by its key
- `tries`: one request, repeated while another try may help
- `s3_errors`: errors of S3 as errors of a worker

May import `settings` and `errors`; only this room imports boto3.
"""
