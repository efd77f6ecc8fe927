package lane_test

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/lane"
)

// usual is a request as an SDK sends it.
const usual = "POST / HTTP/1.1\r\nHost: 127.0.0.1:4566\r\nUser-Agent: aws-sdk-go-v2/1.30.3 os/linux\r\nContent-Length: 17\r\n" +
	"Amz-Sdk-Invocation-Id: 9b1deb4d\r\namz-sdk-request: attempt=1; max=3\r\nAuthorization: AWS4-HMAC-SHA256 Credential=A/b, Signature=00\r\n" +
	"Content-Type: application/x-amz-json-1.1\r\nX-Amz-Date: 20150830T123600Z\r\nX-Amz-Target: secretsmanager.GetSecretValue\r\n\r\n"

const usualBody = `{"SecretId":"db"}`

// seen is what a handler sees of a request, its body and context apart.
type seen struct {
	Method, Proto, Host, RequestURI string
	Major, Minor                    int
	URL                             string
	Header                          http.Header
	Length                          int64
	Close                           bool
	Encoding                        []string
	Trailer                         http.Header
}

func look(r *http.Request) seen {
	u := *r.URL
	return seen{r.Method, r.Proto, r.Host, r.RequestURI, r.ProtoMajor, r.ProtoMinor, u.String() + "|" + u.RawPath + "|" + u.Path,
		r.Header, r.ContentLength, r.Close, r.TransferEncoding, r.Trailer}
}

// agree fails unless what is recognised in b is what http.ReadRequest reads.
func agree(t *testing.T, b []byte) {
	t.Helper()
	before := bytes.Clone(b)
	verdict, size, got := lane.Recognise(b)
	if !bytes.Equal(before, b) {
		t.Fatalf("Recognise changed %q", before)
	}
	if verdict != "plain" {
		return
	}
	in := bufio.NewReader(bytes.NewReader(b))
	want, err := http.ReadRequest(in)
	if err != nil {
		t.Fatalf("%q is plain, net/http says %v", b, err)
	}
	if d := cmp.Diff(look(want), look(got)); d != "" {
		t.Fatalf("%q (-net/http +lane):\n%s", b, d)
	}
	// Both must find the end of the header, and of the body, in the same place.
	body, err := io.ReadAll(want.Body)
	if rest := b[size:]; len(rest) >= int(got.ContentLength) {
		left, _ := io.ReadAll(in)
		if err != nil || string(body) != string(rest[:got.ContentLength]) || string(left) != string(rest[got.ContentLength:]) {
			t.Fatalf("%q: net/http has the body %q and then %q", b, body, left)
		}
	}
	for n := range size {
		if v, _, _ := lane.Recognise(b[:n]); v != "more" {
			t.Fatalf("the first %d bytes of %q are %s", n, b, v)
		}
	}
}

func TestRecognise(t *testing.T) {
	field := func(lines string) string {
		return "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n" + lines + "\r\n{}"
	}
	tests := []struct{ name, text, want string }{
		{"as SDKs send it", usual + usualBody, "plain"},
		{"nothing yet", "", "more"},
		{"a beginning", "POS", "more"},
		{"without its empty line", strings.TrimSuffix(usual, "\r\n"), "more"},
		{"before a line feed", strings.TrimSuffix(usual, "\n"), "more"},
		{"least", field(""), "plain"},
		{"empty body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "plain"},
		{"field twice", field("X-A: 1\r\nx-a: 2\r\n"), "plain"},
		{"space around a value", field("X-A: \t v w \t\r\n"), "plain"},
		{"empty value", field("X-A:\r\n"), "plain"},
		{"keep-alive", field("Connection: keep-alive\r\n"), "plain"},
		{"Java's keep-alive", field("Connection: Keep-Alive\r\n"), "plain"},
		{"name in capitals", field("X-AMZ-TARGET: v\r\n"), "plain"},
		{"odd name", field("a_b!-C: v\r\n"), "plain"},
		{"most fields", field(strings.Repeat("X: 1\r\n", 62)), "plain"},

		{"other method", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "other"},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "other"},
		{"HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "other"},
		{"path", "POST /x HTTP/1.1\r\n", "other"},
		{"query", "POST /?a HTTP/1.1\r\n", "other"},
		{"absolute", "POST http://a/ HTTP/1.1\r\n", "other"},
		{"space before the line", " POST / HTTP/1.1\r\n", "other"},
		{"newline before the line", "\r\nPOST / HTTP/1.1\r\n", "other"},
		{"line feeds alone", strings.ReplaceAll(usual, "\r\n", "\n"), "other"},
		{"line feed after a field", field("X: 1\n"), "other"},
		{"carriage return in a value", field("X: 1\r2\r\n"), "other"},
		{"line feed at the end", strings.TrimSuffix(usual, "\r\n") + "\n", "other"},
		{"folded", field("X: 1\r\n 2\r\n"), "other"},
		{"space before a colon", field("X : 1\r\n"), "other"},
		{"no name", field(": 1\r\n"), "other"},
		{"no colon", field("X\r\n"), "other"},
		{"zero byte", field("X: \x00\r\n"), "other"},
		{"escape", field("X: \x1b\r\n"), "other"},
		{"delete", field("X: \x7f\r\n"), "other"},
		{"beyond ASCII", field("X: é\r\n"), "other"},
		{"name beyond ASCII", field("é: 1\r\n"), "other"},
		{"no host", "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "other"},
		{"empty host", "POST / HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n", "other"},
		{"two hosts", field("Host: a\r\n"), "other"},
		{"host with a slash", "POST / HTTP/1.1\r\nHost: a/b\r\nContent-Length: 0\r\n\r\n", "other"},
		{"no length", "POST / HTTP/1.1\r\nHost: a\r\n\r\n", "other"},
		{"two lengths", field("Content-Length: 3\r\n"), "other"},
		{"the same length twice", field("content-length: 2\r\n"), "other"},
		{"length with a sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}", "other"},
		{"length with a zero", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 02\r\n\r\n{}", "other"},
		{"length in hex", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2\r\n\r\n{}", "other"},
		{"list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\n{}", "other"},
		{"largest body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 262144\r\n\r\n", "plain"},
		{"larger body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 262145\r\n\r\n", "other"},
		{"immense body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\n", "other"},
		{"chunks", field("Transfer-Encoding: chunked\r\n"), "other"},
		{"chunks in small letters", field("transfer-encoding: identity\r\n"), "other"},
		{"expectation", field("Expect: 100-continue\r\n"), "other"},
		{"upgrade", field("Upgrade: h2c\r\n"), "other"},
		{"trailer", field("Trailer: X\r\n"), "other"},
		{"pragma", field("Pragma: no-cache\r\n"), "other"},
		{"close", field("Connection: close\r\n"), "other"},
		{"named by the connection", field("Connection: keep-alive, X\r\n"), "other"},
		{"too many fields", field(strings.Repeat("X: 1\r\n", 63)), "other"},
		{"too large", field("X: " + strings.Repeat("y", 8<<10) + "\r\n"), "other"},
		{"large and not over", "POST / HTTP/1.1\r\nX: " + strings.Repeat("y", 8<<10), "other"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, _, _ := lane.Recognise([]byte(tt.text)); got != tt.want {
				t.Errorf("Recognise(%q) = %s, want %s", tt.text, got, tt.want)
			}
			agree(t, []byte(tt.text))
		})
	}
}

// TestRecogniseChanged changes bytes of good requests: whatever is still served must
// mean the same to net/http.
func TestRecogniseChanged(t *testing.T) {
	const alphabet = "\r\n\t :;,/-0123456789AZaz\x00\x7f\xc3"
	served := 0
	for range 4_000 {
		b := []byte(usual + usualBody)
		for range 1 + rand.IntN(3) {
			at, c := rand.IntN(len(b)), alphabet[rand.IntN(len(alphabet))]
			switch rand.IntN(3) {
			case 0:
				b[at] = c
			case 1:
				b = append(b[:at], b[at+1:]...)
			default:
				b = append(b[:at], append([]byte{c}, b[at:]...)...)
			}
		}
		if v, _, _ := lane.Recognise(b); v == "plain" {
			served++
		}
		agree(t, b)
	}
	if served < 200 {
		t.Errorf("only %d of the requests were served", served)
	}
}

func FuzzRecognise(f *testing.F) {
	f.Add([]byte(usual + usualBody))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}POST / HTTP/1.1\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: [::1]:80\r\ncontent-length: 1\r\nConnection: keep-alive\r\nX:\t \r\nx: 2\r\n\r\n{"))
	f.Fuzz(func(t *testing.T, b []byte) { agree(t, b) })
}
