package app_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"arca/internal/app"
)

// hotSecrets is how many secrets the requests are spread over.
const hotSecrets = 200

// hotPath is a server with what an ordinary caller of it has: a user with ten managed
// policies, of which one allows, and secrets under a customer key.
type hotPath struct {
	handler http.Handler
	host    string
	caller  aws.Credentials
	key     string
}

func newHotPath(tb testing.TB) *hotPath {
	tb.Helper()
	d, err := app.OpenDev(tb.Context(), app.DevConfig{Ephemeral: true, Listen: "127.0.0.1:0"}, discard)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
	})
	address, err := url.Parse(d.URL())
	if err != nil {
		tb.Fatal(err)
	}
	h := &hotPath{handler: app.Edge(d.App), host: address.Host}
	cfg := aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(d.URL()),
		Credentials: credentials.NewStaticCredentialsProvider(app.DevAccessKeyID, app.DevSecretAccessKey, ""),
	}
	h.makeUser(tb, iam.NewFromConfig(cfg))
	made, err := kms.NewFromConfig(cfg).CreateKey(tb.Context(), &kms.CreateKeyInput{})
	if err != nil {
		tb.Fatal(err)
	}
	h.key = *made.KeyMetadata.KeyId
	sm := secretsmanager.NewFromConfig(cfg)
	for i := range hotSecrets {
		if _, err := sm.CreateSecret(tb.Context(), &secretsmanager.CreateSecretInput{
			Name: aws.String(hotName(i)), SecretString: aws.String(`{"username":"app","password":"of ordinary length"}`), KmsKeyId: &h.key,
			Description: aws.String("the password of an ordinary application"),
			Tags:        []types.Tag{{Key: aws.String("team"), Value: aws.String("payments")}, {Key: aws.String("stage"), Value: aws.String("production")}},
		}); err != nil {
			tb.Fatal(err)
		}
	}
	return h
}

func hotName(i int) string { return fmt.Sprintf("hot/service-%03d/password", i%hotSecrets) }

// makeUser makes the caller. Most policies of an ordinary user are about something else.
func (h *hotPath) makeUser(tb testing.TB, c *iam.Client) {
	tb.Helper()
	name := aws.String("app")
	if _, err := c.CreateUser(tb.Context(), &iam.CreateUserInput{UserName: name}); err != nil {
		tb.Fatal(err)
	}
	for i := range 10 {
		document := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
			{"Sid":"Secrets","Effect":"Allow","Action":["secretsmanager:GetSecretValue","secretsmanager:DescribeSecret"],
			 "Resource":"arn:aws:secretsmanager:*:*:secret:team-%[1]d/*"},
			{"Sid":"Buckets","Effect":"Allow","Action":["s3:Get*","s3:List*"],"Resource":["arn:aws:s3:::bucket-%[1]d","arn:aws:s3:::bucket-%[1]d/*"],
			 "Condition":{"Bool":{"aws:SecureTransport":"true"}}}]}`, i)
		switch i {
		case 3:
			document = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"secretsmanager:DeleteSecret","Resource":"*",
				"Condition":{"StringNotEquals":{"aws:PrincipalTag/team":"operations"}}}]}`
		case 7:
			document = `{"Version":"2012-10-17","Statement":[
				{"Effect":"Allow","Action":"secretsmanager:*","Resource":"arn:aws:secretsmanager:*:*:secret:hot/*"},
				{"Effect":"Allow","Action":"secretsmanager:BatchGetSecretValue","Resource":"*"},
				{"Effect":"Allow","Action":["kms:Decrypt","kms:GenerateDataKey"],"Resource":"*",
				 "Condition":{"StringLike":{"kms:ViaService":"secretsmanager.*.amazonaws.com"}}}]}`
		}
		made, err := c.CreatePolicy(tb.Context(), &iam.CreatePolicyInput{PolicyName: aws.String(fmt.Sprint("policy-", i)), PolicyDocument: &document})
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := c.AttachUserPolicy(tb.Context(), &iam.AttachUserPolicyInput{UserName: name, PolicyArn: made.Policy.Arn}); err != nil {
			tb.Fatal(err)
		}
	}
	made, err := c.CreateAccessKey(tb.Context(), &iam.CreateAccessKeyInput{UserName: name})
	if err != nil {
		tb.Fatal(err)
	}
	h.caller = aws.Credentials{AccessKeyID: *made.AccessKey.AccessKeyId, SecretAccessKey: *made.AccessKey.SecretAccessKey}
}

// hotRequest is a signed request that can be sent again and again.
type hotRequest struct {
	request *http.Request
	body    []byte
}

func (h *hotPath) sign(tb testing.TB, operation string, in any) *hotRequest {
	tb.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		tb.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodPost, "http://"+h.host+"/", nil)
	if err != nil {
		tb.Fatal(err)
	}
	r.ContentLength = int64(len(body))
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "secretsmanager."+operation)
	r.Header.Set("User-Agent", "Boto3/1.40.1 md/Botocore#1.40.1 ua/2.1 os/linux md/arch#x86_64 lang/python#3.13.1")
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(tb.Context(), h.caller, r, hex.EncodeToString(sum[:]), "secretsmanager", "us-east-1", time.Now()); err != nil {
		tb.Fatal(err)
	}
	// As net/http hands a request over that it has read.
	r.URL, r.RequestURI, r.Host, r.RemoteAddr = &url.URL{Path: "/"}, "/", h.host, "127.0.0.1:40000"
	return &hotRequest{r, body}
}

// answer is a http.ResponseWriter that keeps the status and the length of an answer.
type answer struct {
	header http.Header
	status int
	length int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { a.length += len(b); return len(b), nil }

// caller sends requests without allocating anything itself.
type caller struct {
	r http.Request
	b bytes.Reader
	a answer
}

func (c *caller) send(tb testing.TB, h *hotPath, q *hotRequest) {
	c.r = *q.request
	c.b.Reset(q.body)
	c.r.Body = readCloser{&c.b}
	clear(c.a.header)
	c.a.status, c.a.length = 0, 0
	h.handler.ServeHTTP(&c.a, &c.r)
	if c.a.status != http.StatusOK {
		tb.Errorf("%s is answered with %d", q.request.Header.Get("X-Amz-Target"), c.a.status)
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

var _ io.ReadCloser = readCloser{}

func newCaller() *caller { return &caller{a: answer{header: make(http.Header)}} }

// hotOperations are what the benchmark and the test of allocations send.
var hotOperations = []struct {
	name string
	in   func(i int) (operation string, in any)
	once bool // each request is sent once
	// allocations is how many a call may make, in all goroutines together.
	allocations float64
}{
	{name: "Get", in: func(i int) (string, any) {
		return "GetSecretValue", map[string]string{"SecretId": hotName(i)}
	}, allocations: 55},
	{name: "Describe", in: func(i int) (string, any) {
		return "DescribeSecret", map[string]string{"SecretId": hotName(i)}
	}, allocations: 45},
	{name: "BatchGet", in: func(i int) (string, any) {
		var names []string
		for k := range 20 {
			names = append(names, hotName(i+k))
		}
		return "BatchGetSecretValue", map[string]any{"SecretIdList": names}
	}, allocations: 780},
	{name: "Put", in: func(i int) (string, any) {
		return "PutSecretValue", map[string]string{
			"SecretId": hotName(i), "ClientRequestToken": fmt.Sprintf("0f5e7c9a-3b1d-4e2f-8a6b-%012d", i), "SecretString": "another password of ordinary length",
		}
	}, once: true, allocations: 570},
}

// BenchmarkHotPath measures calls from the edge to the synced audit record, without
// net/http: time, allocations and the processor time of the whole process.
func BenchmarkHotPath(b *testing.B) {
	h := newHotPath(b)
	for _, o := range hotOperations {
		b.Run(o.name, func(b *testing.B) {
			count := hotSecrets
			if o.once {
				count = b.N
			}
			requests := make([]*hotRequest, count)
			for i := range requests {
				operation, in := o.in(i)
				if o.once { // other tokens than an earlier, shorter run
					operation, in = o.in(i + b.N*1_000_000)
				}
				requests[i] = h.sign(b, operation, in)
			}
			var next atomic.Int64
			b.SetParallelism(32)
			b.ReportAllocs()
			before := processTime(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				c := newCaller()
				for pb.Next() {
					c.send(b, h, requests[int(next.Add(1)-1)%len(requests)])
				}
			})
			b.ReportMetric(float64(processTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

func processTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
