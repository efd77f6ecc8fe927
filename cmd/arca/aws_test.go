package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/rogpeppe/go-internal/testscript"
)

// aws SERVICE OPERATION [MEMBER=VALUE...]: calls an operation of "iam" or
// "secretsmanager" with the credentials of the environment, by default those of a
// development server, and writes the answer to the file "answer". @FILE is the content
// of a file. MEMBER:=JSON is a member that is not a text. Negated, the call must fail.
func callAWS(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: aws service operation [member=value...]")
	}
	service, operation := args[0], args[1]
	members := make(map[string]string)
	for _, a := range args[2:] {
		name, value, _ := strings.Cut(a, "=")
		if file, ok := strings.CutPrefix(value, "@"); ok {
			value = ts.ReadFile(file)
		}
		members[name] = value
	}
	req, body := requestOf(ts, service, operation, members)
	creds := aws.Credentials{
		AccessKeyID:     cmp.Or(ts.Getenv("AWS_ACCESS_KEY_ID"), "test"),
		SecretAccessKey: cmp.Or(ts.Getenv("AWS_SECRET_ACCESS_KEY"), "test"),
	}
	sum := sha256.Sum256(body)
	ts.Check(v4.NewSigner().SignHTTP(req.Context(), creds, req, hex.EncodeToString(sum[:]), service, "us-east-1", time.Now()))
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	ts.Check(err)
	ts.Logf("%s %s: %s\n%s", service, operation, resp.Status, answer)
	ts.Check(os.WriteFile(ts.MkAbs("answer"), answer, 0o600))
	if failed := resp.StatusCode != http.StatusOK; failed != neg {
		ts.Fatalf("%s: %s", operation, resp.Status)
	}
}

// requestOf makes a request of the service's protocol.
func requestOf(ts *testscript.TestScript, service, operation string, members map[string]string) (*http.Request, []byte) {
	var body []byte
	header := http.Header{}
	if service == "iam" {
		form := url.Values{"Action": {operation}, "Version": {"2010-05-08"}}
		for k, v := range members {
			form.Set(k, v)
		}
		body = []byte(form.Encode())
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		values := make(map[string]any)
		for k, v := range members {
			if name, ok := strings.CutSuffix(k, ":"); ok {
				values[name] = json.RawMessage(v)
			} else {
				values[k] = v
			}
		}
		var err error
		body, err = json.Marshal(values)
		ts.Check(err)
		header.Set("Content-Type", "application/x-amz-json-1.1")
		header.Set("X-Amz-Target", service+"."+operation)
	}
	req, err := http.NewRequest(http.MethodPost, ts.Getenv("AWS_ENDPOINT_URL")+"/", bytes.NewReader(body))
	ts.Check(err)
	req.Header = header
	return req, body
}

// rotated SECRET STATE [N]: waits until the rotation of a secret is in a state and N
// rotations have succeeded, by default one.
func rotated(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: rotated secret state [n]")
	}
	want := 1
	if len(args) > 2 {
		var err error
		want, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	var said []byte
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		said, _ = command(ts, []string{"rotation", "show", args[0], "--all", "--output", "json"}).Output() // an error is no answer
		var answer rotationAnswer
		if json.Unmarshal(said, &answer) != nil || answer.Summary.State != args[1] {
			continue
		}
		n := 0
		for _, r := range answer.Rotations {
			if r.Outcome == "succeeded" {
				n++
			}
		}
		if n >= want {
			return
		}
	}
	ts.Fatalf("not %s with %d rotations:\n%s", args[1], want, said)
}

// pick FILE MEMBER VARIABLE: sets a variable to a member of the JSON object in a file,
// which may hold nothing else, or to the content of an element of XML.
func pick(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: pick file member variable")
	}
	text := ts.ReadFile(args[0])
	if _, rest, ok := strings.Cut(text, "<"+args[1]+">"); ok {
		value, _, _ := strings.Cut(rest, "<")
		ts.Setenv(args[2], value)
		return
	}
	var object map[string]any
	ts.Check(json.Unmarshal([]byte(text), &object))
	value, ok := object[args[1]].(string)
	if !ok {
		ts.Fatalf("%s has no string %s", args[0], args[1])
	}
	ts.Setenv(args[2], value)
}

// expand FROM TO: copies a file with the variables of the script put in.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: expand from to")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
}
