package ship_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"arca/internal/ship"
)

const (
	storeKey    = "AKIASTORE"
	storeSecret = "store-secret"
	bucketName  = "audit-copies"
)

// objectStore is a real S3-compatible store that keeps objects as files.
type objectStore struct {
	t      testing.TB
	root   string // a folder for each bucket
	dir    string
	port   int
	caFile string
	creds  string // a file
	args   []string
	cmd    *exec.Cmd
	client *s3.Client
}

// newObjectStore starts a store with a bucket. A locked one keeps every version, and
// locks new ones for a day.
func newObjectStore(t testing.TB, locked bool) *objectStore {
	t.Helper()
	bin, err := filepath.Abs("../../.tools/bin/versitygw")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("%v; scripts/test-deps.sh installs it", err)
	}
	o := &objectStore{t: t, dir: t.TempDir(), port: freePort(t)}
	o.root = filepath.Join(o.dir, "objects")
	meta, versions := filepath.Join(o.dir, "meta"), filepath.Join(o.dir, "versions")
	for _, d := range []string{o.root, meta, versions} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ca, cert, key := certificate(t)
	o.caFile = ca
	o.creds = writeFile(t, filepath.Join(o.dir, "credentials"), "[default]\naws_access_key_id = x\naws_secret_access_key = y\n\n[copies]\naws_access_key_id = "+storeKey+"\naws_secret_access_key = "+storeSecret+"\n")
	o.args = []string{bin, "--access", storeKey, "--secret", storeSecret, "--port", fmt.Sprintf("127.0.0.1:%d", o.port),
		"--cert", cert, "--key", key, "--quiet", "posix", "--sidecar", meta, "--versioning-dir", versions, o.root}
	o.start()
	t.Cleanup(o.stop)
	o.client = s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(o.endpoint()), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(storeKey, storeSecret, ""), HTTPClient: trusting(t, ca),
	})
	in := &s3.CreateBucketInput{Bucket: aws.String(bucketName)}
	if locked {
		in.ObjectLockEnabledForBucket = aws.Bool(true)
	}
	if _, err := o.client.CreateBucket(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if locked {
		if _, err := o.client.PutObjectLockConfiguration(t.Context(), &s3.PutObjectLockConfigurationInput{
			Bucket: aws.String(bucketName),
			ObjectLockConfiguration: &types.ObjectLockConfiguration{
				ObjectLockEnabled: types.ObjectLockEnabledEnabled,
				Rule:              &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Days: aws.Int32(1), Mode: types.ObjectLockRetentionModeCompliance}},
			},
		}); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func (o *objectStore) endpoint() string { return fmt.Sprintf("https://127.0.0.1:%d", o.port) }

func (o *objectStore) start() {
	o.t.Helper()
	cmd := exec.Command(o.args[0], o.args[1:]...)
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.cmd = cmd
	listening(o.t, o.port)
}

func (o *objectStore) stop() {
	if o.cmd != nil {
		_ = o.cmd.Process.Kill() // it may have ended
		_ = o.cmd.Wait()
		o.cmd = nil
	}
}

func (o *objectStore) copyConfig() ship.CopyConfig {
	return ship.CopyConfig{
		Name: "bucket", Bucket: bucketName, Prefix: "arca/logs", Endpoint: o.endpoint(), PathStyle: true, CAFile: o.caFile,
		CredentialsFile: o.creds, Profile: "copies", IntervalSeconds: 1,
	}
}

// download writes what a client sees of the bucket to a directory, as `aws s3 sync`
// would, and returns the folder below the prefix.
func (o *objectStore) download() string {
	o.t.Helper()
	dir := o.t.TempDir()
	pages := s3.NewListObjectsV2Paginator(o.client, &s3.ListObjectsV2Input{Bucket: aws.String(bucketName)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(o.t.Context())
		if err != nil {
			o.t.Fatal(err)
		}
		for _, obj := range page.Contents {
			out, err := o.client.GetObject(o.t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucketName), Key: obj.Key})
			if err != nil {
				o.t.Fatal(err)
			}
			path := filepath.Join(dir, filepath.FromSlash(*obj.Key))
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				o.t.Fatal(err)
			}
			f, err := os.Create(path)
			if err == nil {
				_, err = f.ReadFrom(out.Body)
			}
			if err != nil {
				o.t.Fatal(err)
			}
			_, _ = out.Body.Close(), f.Close()
		}
	}
	return filepath.Join(dir, "arca", "logs")
}

// deletes removes every object a client sees.
func (o *objectStore) empty() {
	o.t.Helper()
	pages := s3.NewListObjectsV2Paginator(o.client, &s3.ListObjectsV2Input{Bucket: aws.String(bucketName)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			o.t.Fatal(err)
		}
		for _, obj := range page.Contents {
			if _, err := o.client.DeleteObject(context.Background(), &s3.DeleteObjectInput{Bucket: aws.String(bucketName), Key: obj.Key}); err != nil {
				o.t.Fatal(err)
			}
		}
	}
}
