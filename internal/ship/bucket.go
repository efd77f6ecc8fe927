package ship

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"arca/internal/audit"
	"arca/internal/webhook"
)

const (
	// growBytes: a piece of the tail that is shorter is put again, longer, instead of
	// beginning another. A quiet log would otherwise leave an object for each few lines;
	// a busy one never gets here.
	growBytes = 32 << 10
	// maxPieceBytes is the longest piece there can be.
	maxPieceBytes = growBytes + pieceBytes + audit.MaxLineBytes + 1

	// A file that is longer goes up in parts.
	maxPutBytes = 64 << 20
	partBytes   = 16 << 20

	// requestTimeout is for a request, beside the time that its body takes at the
	// slowest.
	requestTimeout = 30 * time.Second
	slowestBytes   = 64 << 10 // a second
	// maxKeys bounds how much of a listing is kept: a folder of ours holds some thousands.
	maxKeys = 1_000_000
	// maxEmptyPages bounds how often in a row a store may answer with a page of nothing
	// and promise more.
	maxEmptyPages = 100
	// credentialsAge is how long credentials from a file are used before it is read
	// again.
	credentialsAge = 5 * time.Minute
)

// bucketPlace keeps copies in a bucket of an S3-compatible store.
//
// The tail of a segment is a folder of pieces, tail/<the segment's first line>/<the
// piece's first line>.jsonl. They count for nothing once the segment is there whole:
// then they are removed, if the bucket lets us. Nothing else is ever removed, and
// everything that is replaced is replaced by something longer or newer, so a bucket
// that keeps versions, or locks them, works like any other.
type bucketPlace struct {
	client *s3.Client
	bucket string
	prefix string
	keys   int // of a listing, at most

	// The piece that the next lines are added to, as long as it is short.
	pieceSegment, pieceFirst, pieceNext uint64
	piece                               []byte
	// keepTails: the bucket does not let us remove anything.
	keepTails bool
}

func newBucketPlace(c CopyConfig) (*bucketPlace, error) {
	roots, err := webhook.ReadRoots(c.CAFile)
	if err != nil {
		return nil, err
	}
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		if roots != nil {
			t.TLSClientConfig.RootCAs = roots
		}
		t.MaxConnsPerHost = 2
		t.ResponseHeaderTimeout = requestTimeout
	})
	region := c.Region
	if region == "" {
		region = defaultRegion
	}
	options := s3.Options{
		Region: region, HTTPClient: client, UsePathStyle: c.PathStyle, Logger: logging.Nop{},
		// Every body carries its SHA-256, which we give; other checksums are not needed, and
		// not every store knows them.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	}
	if c.Endpoint != "" {
		options.BaseEndpoint = aws.String(c.Endpoint)
	}
	options.Credentials = aws.NewCredentialsCache(&credentials{file: c.CredentialsFile, profile: c.Profile, region: region})
	return &bucketPlace{client: s3.New(options), bucket: c.Bucket, prefix: c.Prefix, keys: maxKeys}, nil
}

// credentials reads a file, or asks what AWS's SDK finds: the environment, a role of
// the machine.
type credentials struct {
	file, profile, region string
	chain                 aws.CredentialsProvider
}

// Retrieve implements aws.CredentialsProvider. The cache around it calls it once at a
// time.
func (c *credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if c.file == "" {
		if c.chain == nil {
			cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(c.region), config.WithLogger(logging.Nop{}))
			if err != nil {
				return aws.Credentials{}, err
			}
			c.chain = cfg.Credentials
		}
		return c.chain.Retrieve(ctx)
	}
	profile := c.profile
	if profile == "" {
		profile = "default"
	}
	shared, err := config.LoadSharedConfigProfile(ctx, profile, func(o *config.LoadSharedConfigOptions) {
		o.CredentialsFiles, o.ConfigFiles, o.Logger = []string{c.file}, []string{}, logging.Nop{}
	})
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("read %s: %w", c.file, err)
	}
	if !shared.Credentials.HasKeys() {
		return aws.Credentials{}, fmt.Errorf("%s has no keys for the profile %s", c.file, profile)
	}
	found := shared.Credentials
	found.CanExpire, found.Expires = true, time.Now().Add(credentialsAge)
	return found, nil
}

func (b *bucketPlace) key(name string) *string { return aws.String(path.Join(b.prefix, name)) }

// bounded bounds a request whose body has size bytes.
func bounded(ctx context.Context, size int64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, requestTimeout+time.Duration(size/slowestBytes)*time.Second)
}

func (b *bucketPlace) list(ctx context.Context, folder string) (files map[string]int64, folders []string, err error) {
	prefix := *b.key(folder) + "/"
	pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{
		Bucket: &b.bucket, Prefix: &prefix, Delimiter: aws.String("/"),
	})
	files = make(map[string]int64)
	seen := make(map[string]bool) // folders
	for empty := 0; pages.HasMorePages(); {
		before := len(files) + len(seen)
		rctx, cancel := bounded(ctx, 0)
		page, err := pages.NextPage(rctx)
		cancel()
		if err != nil {
			return nil, nil, fmt.Errorf("list %s: %w", folder, err)
		}
		for _, o := range page.Contents {
			files[strings.TrimPrefix(aws.ToString(o.Key), prefix)] = aws.ToInt64(o.Size)
		}
		for _, p := range page.CommonPrefixes {
			seen[strings.TrimSuffix(strings.TrimPrefix(aws.ToString(p.Prefix), prefix), "/")] = true
		}
		// A store that goes round in circles would be listed for ever.
		empty++
		switch total := len(files) + len(seen); {
		case total > b.keys:
			return nil, nil, fmt.Errorf("list %s: more than %d objects", folder, b.keys)
		case total > before:
			empty = 0
		case pages.HasMorePages() && (len(page.Contents)+len(page.CommonPrefixes) > 0 || empty > maxEmptyPages):
			return nil, nil, fmt.Errorf("list %s: a page has nothing new, and is not the last one", folder)
		}
	}
	folders = slices.Sorted(maps.Keys(seen))
	return files, folders, nil
}

func (b *bucketPlace) read(ctx context.Context, name string) ([]byte, error) {
	return b.get(ctx, name, maxSmallBytes)
}

func (b *bucketPlace) get(ctx context.Context, name string, limit int64) ([]byte, error) {
	ctx, cancel := bounded(ctx, limit)
	defer cancel()
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.bucket, Key: b.key(name)})
	if _, ok := errors.AsType[*types.NoSuchKey](err); ok {
		return nil, fmt.Errorf("get %s: %w", name, fs.ErrNotExist)
	} else if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	defer func() { _ = out.Body.Close() }() // read only
	content, err := io.ReadAll(io.LimitReader(out.Body, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("longer than %d bytes", limit)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	return content, nil
}

func (b *bucketPlace) put(ctx context.Context, name string, content []byte) error {
	return b.putReader(ctx, name, bytes.NewReader(content), int64(len(content)))
}

func (b *bucketPlace) putReader(ctx context.Context, name string, r io.ReadSeeker, size int64) error {
	sum, err := checksum(r)
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	ctx, cancel := bounded(ctx, size)
	defer cancel()
	if _, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.bucket, Key: b.key(name), Body: r, ContentLength: &size, ChecksumSHA256: sum,
	}); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

// checksum returns the SHA-256 of what is left in r, which is at its beginning, and
// goes back there.
func checksum(r io.ReadSeeker) (*string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return nil, err
	}
	_, err := r.Seek(0, io.SeekStart)
	return aws.String(base64.StdEncoding.EncodeToString(h.Sum(nil))), err
}

func (b *bucketPlace) putFile(ctx context.Context, name string, f *os.File, size int64) error {
	if size <= maxPutBytes {
		return b.putReader(ctx, name, io.NewSectionReader(f, 0, size), size)
	}
	key := b.key(name)
	rctx, cancel := bounded(ctx, 0)
	up, err := b.client.CreateMultipartUpload(rctx, &s3.CreateMultipartUploadInput{
		Bucket: &b.bucket, Key: key, ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	cancel()
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	var parts []types.CompletedPart
	for offset := int64(0); offset < size && err == nil; offset += partBytes {
		var part types.CompletedPart
		part, err = b.putPart(ctx, key, up.UploadId, int32(len(parts)+1), io.NewSectionReader(f, offset, min(partBytes, size-offset)))
		parts = append(parts, part)
	}
	if err == nil {
		rctx, cancel := bounded(ctx, size)
		_, err = b.client.CompleteMultipartUpload(rctx, &s3.CompleteMultipartUploadInput{
			Bucket: &b.bucket, Key: key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
		cancel()
	}
	if err == nil {
		return nil
	}
	// Parts that are left take room until the store's own rules remove them.
	actx, cancel := bounded(context.WithoutCancel(ctx), 0)
	defer cancel()
	_, _ = b.client.AbortMultipartUpload(actx, &s3.AbortMultipartUploadInput{Bucket: &b.bucket, Key: key, UploadId: up.UploadId})
	return fmt.Errorf("put %s: %w", name, err)
}

func (b *bucketPlace) putPart(ctx context.Context, key, upload *string, number int32, r *io.SectionReader) (types.CompletedPart, error) {
	sum, err := checksum(r)
	if err != nil {
		return types.CompletedPart{}, err
	}
	ctx, cancel := bounded(ctx, r.Size())
	defer cancel()
	out, err := b.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &b.bucket, Key: key, UploadId: upload, PartNumber: &number, Body: r, ContentLength: aws.Int64(r.Size()), ChecksumSHA256: sum,
	})
	if err != nil {
		return types.CompletedPart{}, err
	}
	return types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumSHA256: sum}, nil
}

func (b *bucketPlace) remove(ctx context.Context, name string) error {
	ctx, cancel := bounded(ctx, 0)
	defer cancel()
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.bucket, Key: b.key(name)})
	return err
}

func tailFolder(folder string, first uint64) string {
	return path.Join(folder, tailName, strings.TrimSuffix(audit.SegmentName(first, false), ".jsonl"))
}

func (b *bucketPlace) tail(ctx context.Context, folder string, seg audit.Segment) (next uint64, err error) {
	b.piece = nil
	pieces, _, err := b.list(ctx, tailFolder(folder, seg.First))
	if err != nil {
		return 0, err
	}
	last, found := seg.First, false
	for name := range pieces {
		if first, compressed, ok := audit.ParseSegmentName(name); ok && !compressed && first >= last {
			last, found = first, true
		}
	}
	if !found {
		return seg.First, nil
	}
	name := path.Join(tailFolder(folder, seg.First), audit.SegmentName(last, false))
	content, err := b.get(ctx, name, maxPieceBytes)
	if err != nil {
		return 0, err
	}
	if len(content) == 0 || content[len(content)-1] != '\n' {
		return 0, fmt.Errorf("%s does not end with a line's end: %w", name, errOther)
	}
	r, err := seg.Open()
	if err != nil {
		return 0, err
	}
	defer func() { _ = r.Close() }() // read only
	offset, err := lineOffset(r, last-seg.First)
	ok := false
	if err == nil {
		ok, err = same(r, offset, content)
	}
	if err != nil && err != io.EOF {
		return 0, err
	}
	if !ok {
		return 0, fmt.Errorf("%s differs from the log's lines: %w", name, errOther)
	}
	next = last + uint64(bytes.Count(content, []byte{'\n'}))
	if len(content) < growBytes {
		b.pieceSegment, b.pieceFirst, b.pieceNext, b.piece = seg.First, last, next, content
	}
	return next, nil
}

func (b *bucketPlace) extend(ctx context.Context, folder string, first, next uint64, lines []byte) error {
	content, begin := lines, next
	if len(b.piece) > 0 && b.pieceSegment == first && b.pieceNext == next {
		content, begin = append(b.piece[:len(b.piece):len(b.piece)], lines...), b.pieceFirst
	}
	if err := b.put(ctx, path.Join(tailFolder(folder, first), audit.SegmentName(begin, false)), content); err != nil {
		return err
	}
	b.piece = nil
	if len(content) < growBytes {
		b.pieceSegment, b.pieceFirst, b.pieceNext = first, begin, next+uint64(bytes.Count(lines, []byte{'\n'}))
		b.piece = bytes.Clone(content)
	}
	return nil
}

func (b *bucketPlace) check(string) error { return nil }

// dropTail removes the pieces of a segment. A bucket may refuse that: they do no harm.
func (b *bucketPlace) dropTail(ctx context.Context, folder string, first uint64) error {
	if b.keepTails {
		return nil
	}
	tail := tailFolder(folder, first)
	pieces, _, err := b.list(ctx, tail)
	if err != nil {
		return err
	}
	for name := range pieces {
		err := b.remove(ctx, path.Join(tail, name))
		if _, refused := errors.AsType[smithy.APIError](err); refused {
			b.keepTails = true
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (b *bucketPlace) wantsWhole() bool { return true }

// vanished: a bucket is not mounted. One that was emptied is filled again.
func (b *bucketPlace) vanished() bool { return false }

func (b *bucketPlace) String() string { return "bucket " + b.bucket }
