package export

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// partSize is what is sent at a time, and held in memory. An object has at most 10 000 parts: 156 GiB.
const partSize = 16 << 20

// bucket is one of S3, or of what speaks its API.
type bucket struct {
	client       *s3.Client
	name, prefix string
}

// openBucket takes region, credentials and endpoint from where all programs of AWS take them: AWS_REGION, AWS_PROFILE,
// AWS_ENDPOINT_URL_S3...
func openBucket(ctx context.Context, at, endpoint string) (place, error) {
	b := bucket{}
	b.name, b.prefix, _ = strings.Cut(at, "/")
	if b.prefix = strings.Trim(b.prefix, "/"); b.prefix != "" {
		b.prefix += "/"
	}
	if b.name == "" {
		return nil, errors.New("to: no bucket after s3://")
	}
	c, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("S3: %w", err)
	}
	c.Region = cmp.Or(c.Region, "us-east-1")
	b.client = s3.NewFromConfig(c, func(o *s3.Options) {
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
		o.UsePathStyle = o.BaseEndpoint != nil
	})
	return b, nil
}

func (b bucket) key(name string) *string { return aws.String(b.prefix + name) }

func (b bucket) create(ctx context.Context, name string) (upload, error) {
	return &parts{ctx: ctx, bucket: b, key: b.key(name)}, nil
}

func (b bucket) open(ctx context.Context, name string) (*object, error) {
	head, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.name, Key: b.key(name)})
	if errors.As(err, new(*types.NotFound)) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	return &object{ranges{ctx, b, b.key(name), head.ETag, aws.ToInt64(head.ContentLength)}, io.NopCloser(nil), aws.ToInt64(head.ContentLength)}, nil
}

// ranges reads one version of an object.
type ranges struct {
	ctx    context.Context
	bucket bucket
	key    *string
	tag    *string
	size   int64
}

func (r ranges) ReadAt(p []byte, at int64) (n int, err error) {
	whole := len(p)
	if p = p[:max(min(int64(whole), r.size-at), 0)]; len(p) > 0 {
		span := fmt.Sprintf("bytes=%d-%d", at, at+int64(len(p))-1)
		got, err := r.bucket.client.GetObject(r.ctx, &s3.GetObjectInput{Bucket: &r.bucket.name, Key: r.key, Range: &span, IfMatch: r.tag})
		if err != nil {
			return 0, err
		}
		defer got.Body.Close()
		if n, err = io.ReadFull(got.Body, p); err != nil {
			return n, err
		}
	}
	if n < whole {
		return n, io.EOF
	}
	return n, nil
}

// parts is an upload. One that fits into a part is put at once; others are there when all their parts are.
type parts struct {
	ctx    context.Context
	bucket bucket
	key    *string
	buf    []byte
	id     *string
	done   []types.CompletedPart
}

func (p *parts) Write(b []byte) (n int, err error) {
	for n < len(b) {
		took := min(len(b)-n, partSize-len(p.buf))
		p.buf = append(p.buf, b[n:n+took]...)
		n += took
		if len(p.buf) == partSize {
			if err := p.send(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (p *parts) send() error {
	if p.id == nil {
		made, err := p.bucket.client.CreateMultipartUpload(p.ctx, &s3.CreateMultipartUploadInput{Bucket: &p.bucket.name, Key: p.key})
		if err != nil {
			return err
		}
		p.id = made.UploadId
	}
	number := aws.Int32(int32(len(p.done) + 1)) //nolint:gosec // at most 10 000
	sent, err := p.bucket.client.UploadPart(p.ctx, &s3.UploadPartInput{
		Bucket: &p.bucket.name, Key: p.key, UploadId: p.id, PartNumber: number, Body: bytes.NewReader(p.buf)})
	if err != nil {
		return err
	}
	p.done = append(p.done, types.CompletedPart{PartNumber: number, ETag: sent.ETag, ChecksumCRC32: sent.ChecksumCRC32})
	p.buf = p.buf[:0]
	return nil
}

func (p *parts) commit() error {
	if p.id == nil {
		_, err := p.bucket.client.PutObject(p.ctx, &s3.PutObjectInput{Bucket: &p.bucket.name, Key: p.key, Body: bytes.NewReader(p.buf)})
		return err
	}
	if len(p.buf) > 0 {
		if err := p.send(); err != nil {
			return err
		}
	}
	_, err := p.bucket.client.CompleteMultipartUpload(p.ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &p.bucket.name, Key: p.key, UploadId: p.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: p.done}})
	return err
}

// abort gives the parts up, which S3 keeps otherwise.
func (p *parts) abort(ctx context.Context) error {
	if p.id == nil {
		return nil
	}
	_, err := p.bucket.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &p.bucket.name, Key: p.key, UploadId: p.id})
	return err
}
