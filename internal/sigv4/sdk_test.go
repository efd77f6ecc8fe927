package sigv4_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"

	"arca/internal/sigv4"
)

// drawn is a random request together with what it was signed with.
type drawn struct {
	req   *sigv4.Request
	body  string
	creds aws.Credentials
	when  time.Time
}

func (d *drawn) verify(now time.Time) *sigv4.Failure {
	e := expect()
	e.Service, e.Now = "secretsmanager", now
	return verify(d.req, e, d.body, d.creds.SecretAccessKey)
}

// draw lets the AWS SDK sign a random request.
func draw(t *rapid.T, presign bool) *drawn {
	letters := rapid.StringMatching(`[!-~]{1,12}`)
	d := &drawn{
		body: rapid.String().Draw(t, "body"),
		creds: aws.Credentials{
			AccessKeyID:     rapid.StringMatching(`[A-Z0-9]{16,20}`).Draw(t, "access key"),
			SecretAccessKey: rapid.StringMatching(`[A-Za-z0-9+/]{40}`).Draw(t, "secret key"),
			SessionToken:    rapid.StringMatching(`([A-Za-z0-9+/=]{20,40})?`).Draw(t, "token"),
		},
		when: time.Unix(rapid.Int64Range(1e9, 4e9).Draw(t, "time"), 0).UTC(),
	}
	path := ""
	for _, segment := range rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "path") {
		if strings.Trim(segment, ".") != "" { // the SDK leaves dot segments to its caller
			path += "/" + url.PathEscape(segment)
		}
	}
	query := url.Values{}
	for k, v := range rapid.MapOfN(rapid.String(), rapid.SliceOfN(rapid.String(), 1, 3), 0, 3).Draw(t, "query") {
		query["q"+k] = v
	}
	if presign {
		query.Set("X-Amz-Expires", "600")
	}
	if path == "" {
		path = "/"
	}
	r, err := http.NewRequest(rapid.SampledFrom([]string{"GET", "POST", "PUT"}).Draw(t, "method"),
		"http://127.0.0.1:4566"+path+"?"+query.Encode(), strings.NewReader(d.body))
	if err != nil {
		t.Fatal(err)
	}
	for range rapid.IntRange(0, 3).Draw(t, "headers") {
		r.Header.Add("X-Amz-Meta-"+rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "name"), letters.Draw(t, "a")+"  "+letters.Draw(t, "b"))
	}
	r.Header.Set("X-Amz-Target", "secretsmanager.GetSecretValue")
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	sum := sha256.Sum256([]byte(d.body))
	hash := hex.EncodeToString(sum[:])
	if rapid.Bool().Draw(t, "hash header") {
		r.Header.Set("X-Amz-Content-Sha256", hash)
	}
	signer := v4.NewSigner()
	if presign {
		uri, headers, err := signer.PresignHTTP(context.Background(), d.creds, r, hash, "secretsmanager", "us-east-1", d.when)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		r.URL, r.Header = u, headers
		r.Header.Del("Host")
	} else if err := signer.SignHTTP(context.Background(), d.creds, r, hash, "secretsmanager", "us-east-1", d.when); err != nil {
		t.Fatal(err)
	}
	d.req = &sigv4.Request{Method: r.Method, Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery,
		Host: r.Host, Header: r.Header, ContentLength: r.ContentLength}
	return d
}

func TestSDKSignedVerifies(t *testing.T) {
	for _, presign := range []bool{false, true} {
		t.Run("presign="+strconv.FormatBool(presign), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				d := draw(t, presign)
				if f := d.verify(d.when); f != nil {
					t.Fatalf("Verify = %v", f)
				}
				var s sigv4.Signed
				f := s.Parse(d.req)
				if f != nil || s.AccessKeyID != d.creds.AccessKeyID || s.SessionToken != d.creds.SessionToken ||
					s.Presigned != presign || !s.Time.Equal(d.when) {
					t.Fatalf("Parse = %+v, %v", &s, f)
				}
				life := 5 * time.Minute
				if presign {
					life = 10 * time.Minute
				}
				if f := d.verify(d.when.Add(life)); f != nil {
					t.Errorf("Verify at the end of its time = %v", f)
				}
				for _, off := range []time.Duration{life + time.Second, -5*time.Minute - time.Second} {
					if f := d.verify(d.when.Add(off)); f == nil || f.Kind != sigv4.Invalid {
						t.Errorf("Verify %v later = %v, want invalid", off, f)
					}
				}
			})
		})
	}
}

// TestQuerySpelling sends queries as the SDK's caller wrote them and as the SDK does
// after signing: what means the same to a service verifies.
func TestQuerySpelling(t *testing.T) {
	tests := []struct {
		query string
		ok    bool // as the caller wrote it
	}{
		{"a=b+c", true}, {"a=b%20c", true}, {"a=b%2Bc", true}, {"a+b=1", true}, {"a=%c3%a9", true}, {"a=b&a=a", true},
		{"a", true}, {"a=", true}, {"a=%2F/", true}, {"a=*~", true}, {"=x", true}, {"a=b=c", true}, {"a=b%26c", true}, {"a=%2526", true},
		{"&&a=1&", true}, {"a=;b", false}, // the SDK drops the last before it signs
	}
	for _, tt := range tests {
		r, err := http.NewRequest("POST", "http://127.0.0.1:4566/?"+tt.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := &drawn{creds: aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: exampleSecret}, when: exampleTime}
		sum := sha256.Sum256(nil)
		if err := v4.NewSigner().SignHTTP(t.Context(), d.creds, r, hex.EncodeToString(sum[:]), "secretsmanager", "us-east-1", d.when); err != nil {
			t.Fatal(err)
		}
		for query, want := range map[string]bool{r.URL.RawQuery: true, tt.query: tt.ok} {
			d.req = &sigv4.Request{Method: r.Method, Path: "/", RawQuery: query, Host: r.URL.Host, Header: r.Header}
			if f := d.verify(d.when); (f == nil) != want {
				t.Errorf("query %q, signed as %q: Verify = %v", query, tt.query, f)
			}
		}
	}
}

// TestChangedDoesNotVerify changes one byte of what is signed, anywhere.
func TestChangedDoesNotVerify(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t, rapid.Bool().Draw(t, "presign"))
		change := func(s string) string {
			if s == "" {
				return "x"
			}
			i := rapid.IntRange(0, len(s)-1).Draw(t, "at")
			b := rapid.ByteRange('!', '~').Filter(func(b byte) bool { return b != s[i] }).Draw(t, "byte")
			return s[:i] + string(b) + s[i+1:]
		}
		switch what := rapid.SampledFrom([]string{"method", "path", "query", "host", "body", "header"}).Draw(t, "what"); what {
		case "method":
			d.req.Method = change(d.req.Method)
		case "path":
			d.req.Path = change(d.req.Path)
			if d.req.Path == "" || d.req.Path[0] != '/' {
				t.Skip("no request line holds this")
			}
		case "query":
			before := parsed(d.req.RawQuery)
			d.req.RawQuery = change(d.req.RawQuery)
			if slices.Equal(before, parsed(d.req.RawQuery)) {
				t.Skip("another spelling of the same")
			}
		case "host":
			d.req.Host = change(d.req.Host)
		case "body":
			d.body = change(d.body)
		case "header":
			name := rapid.SampledFrom(slices.Sorted(mapKeys(d.req.Header))).Draw(t, "header")
			values := slices.Clone(d.req.Header[name])
			i := rapid.IntRange(0, len(values)-1).Draw(t, "value")
			was := values[i]
			values[i] = change(was)
			if name == "Authorization" && spelled(was) == spelled(values[i]) {
				t.Skip("another spelling of the same")
			}
			d.req.Header[name] = values
			var s sigv4.Signed
			if f := s.Parse(d.req); f == nil && s.AccessKeyID != d.creds.AccessKeyID {
				t.Skip("the key of somebody else, who has another secret")
			}
		}
		if f := d.verify(d.when); f == nil {
			t.Fatal("Verify accepts a changed request")
		}
	})
}

// TestEveryByteOfSignature is TestChangedDoesNotVerify for the bytes that decide.
func TestEveryByteOfSignature(t *testing.T) {
	for i := range vanilla {
		for _, b := range []byte("0123456789abcdefABCDEF \x00") {
			if vanilla[i] == b {
				continue
			}
			r := plain()
			changed := vanilla[:i] + string(b) + vanilla[i+1:]
			r.Header["Authorization"] = []string{authorization(exampleScope, "host;x-amz-date", changed)}
			if f := verify(r, expect(), "", exampleSecret); f == nil {
				t.Errorf("Verify accepts signature %q", changed)
			}
		}
	}
}

func mapKeys(m map[string][]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// parsed is what a query means, in an order of its own.
func parsed(raw string) []string {
	var out []string
	for part := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(part, "=")
		n, err1 := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			return []string{"broken", raw}
		}
		if part != "" {
			out = append(out, n+"\x00"+v)
		}
	}
	slices.Sort(out)
	return out
}

// spelled drops what spacing and order leave open in an Authorization header.
func spelled(auth string) string {
	algorithm, rest, _ := strings.Cut(auth, " ")
	var list []string
	for part := range strings.SplitSeq(rest, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	slices.Sort(list)
	return algorithm + " " + strings.Join(list, ",")
}

func FuzzParse(f *testing.F) {
	f.Add("POST", "/", "", "127.0.0.1:4566", authorization(exampleScope, "host;x-amz-date", vanilla), exampleDate, "")
	f.Add("GET", "/a/../b//%2e", "a=b&c=%zz", "h", "AWS4-HMAC-SHA256", "", "x")
	f.Add("GET", "/", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"+
		"&X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00", "h", "", "", "")
	f.Add("POST", "/", "x-amz-target=a&X-Amz-Target=b&X-Amz-Signature=1", "h", "Bearer x", "Sun, 30 Aug 2015 12:36:00 GMT", "t")
	f.Fuzz(func(t *testing.T, method, path, query, host, auth, date, extra string) {
		r := &sigv4.Request{Method: method, Path: path, RawQuery: query, Host: host, Header: map[string][]string{
			"X-Amz-Date": {date}, "Extra": {extra, extra},
		}}
		if auth != "" {
			r.Header["Authorization"] = []string{auth}
		}
		e := expect()
		e.Region = func(string) bool { return true }
		var s sigv4.Signed
		fail := s.Parse(r)
		if fail == nil {
			e.Service, e.Now = s.Service, s.Time
			fail = s.Verify(e, sha256.Sum256(nil), derive("a key that signed nothing"))
		}
		if fail == nil || fail.Message == "" {
			t.Fatalf("Verify = %v", fail)
		}
		if strings.ToValidUTF8(fail.Message, "") != fail.Message {
			t.Errorf("Verify = %q, want UTF-8", fail.Message)
		}
	})
}

// BenchmarkVerify is a GetSecretValue as the Go SDK sends it, with a cached key.
func BenchmarkVerify(b *testing.B) {
	body := `{"SecretId":"production/billing/database"}`
	r, _ := http.NewRequest("POST", "http://127.0.0.1:4566/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", "secretsmanager.GetSecretValue")
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("Amz-Sdk-Invocation-Id", "6a0b5fd7-3a55-4d29-8a1b-62bd86d3a0f1")
	r.Header.Set("Amz-Sdk-Request", "attempt=1; max=3")
	sum := sha256.Sum256([]byte(body))
	creds := aws.Credentials{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret}
	if err := v4.NewSigner().SignHTTP(context.Background(), creds, r, hex.EncodeToString(sum[:]), "secretsmanager", "us-east-1", exampleTime); err != nil {
		b.Fatal(err)
	}
	req := &sigv4.Request{Method: "POST", Path: "/", Host: r.Host, Header: r.Header, ContentLength: r.ContentLength}
	e := expect()
	e.Service = "secretsmanager"
	key := sigv4.DeriveKey([]byte(exampleSecret), "20150830", "us-east-1", "secretsmanager")
	b.ReportAllocs()
	for b.Loop() {
		var s sigv4.Signed
		f := s.Parse(req)
		if f == nil {
			f = s.Verify(e, sha256.Sum256([]byte(body)), func(sigv4.Scope) *sigv4.SigningKey { return key })
		}
		if f != nil {
			b.Fatal(f)
		}
	}
}
