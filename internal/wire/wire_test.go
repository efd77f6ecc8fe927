package wire_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"arca/internal/api"
	"arca/internal/api/kmsapi"
	"arca/internal/api/smapi"
	"arca/internal/wire"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestRenderError(t *testing.T) {
	get := smapi.OpGetSecretValue
	expired := &api.Code{Name: "UnrecognizedClientException", Status: 400}
	for _, tt := range []struct {
		name     string
		op       *api.Operation
		err      *api.Error
		frontEnd bool
		status   int
		body     string
	}{
		{"modelled", get, smapi.ResourceNotFoundException.Errorf("Secrets Manager can't find the specified secret."), false, 400,
			`{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`},
		{"internal", get, smapi.InternalServiceError.Wrap(io.EOF, "An error occurred on the server side."), false, 500,
			`{"__type":"InternalServiceError","Message":"An error occurred on the server side."}`},
		{"denied", get, smapi.AccessDeniedException.Errorf("Access to KMS is not allowed"), false, 400,
			`{"__type":"AccessDeniedException","Message":"Access to KMS is not allowed"}`},
		{"constraint", get, smapi.ValidationException.Errorf("Invalid name."), false, 400, `{"__type":"ValidationException","message":"Invalid name."}`},
		{"throttled", get, smapi.ThrottlingException.Errorf("Rate exceeded"), false, 400, `{"__type":"ThrottlingException","message":"Rate exceeded"}`},
		{"not JSON", get, api.SerializationException.Errorf(""), false, 400, `{"__type":"SerializationException"}`},
		{"front end", get, expired.Errorf("The security token included in the request is invalid."), true, 400,
			`{"__type":"UnrecognizedClientException","message":"The security token included in the request is invalid."}`},
		{"no operation", nil, expired.Errorf("x"), false, 400, `{"__type":"UnrecognizedClientException","message":"x"}`},
		{"KMS", kmsapi.OpDecrypt, kmsapi.DisabledException.Errorf("x is disabled."), false, 400, `{"__type":"DisabledException","message":"x is disabled."}`},
		{"KMS without a text", kmsapi.OpDecrypt, kmsapi.InvalidCiphertextException.Errorf(""), false, 400, `{"__type":"InvalidCiphertextException"}`},
		{"denied by KMS", kmsapi.OpDecrypt, kmsapi.AccessDeniedException.Errorf("x"), false, 400, `{"__type":"AccessDeniedException","message":"x"}`},
		{"text with quotes", get, smapi.InvalidRequestException.Errorf("a \"b\"\n"), false, 400,
			`{"__type":"InvalidRequestException","Message":"a \"b\"\n"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, contentType, body := wire.Reply{Op: tt.op}.RenderError(tt.err, tt.frontEnd)
			if status != tt.status || contentType != wire.ContentTypeJSON11 || string(body) != tt.body {
				t.Errorf("RenderError() = %d %s %s, want %d %s", status, contentType, body, tt.status, tt.body)
			}
			if !json.Valid(body) {
				t.Errorf("%s is not JSON", body)
			}
		})
	}
}

// TestExchanges sends the requests in testdata through router and codec. A file
// holds a request; what the operation returns, as JSON; and, written by -update, the
// input that the operation would see, as JSON, and the answer.
func TestExchanges(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no exchanges: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			old, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			ar := txtar.Parse(old)
			given := map[string][]byte{}
			for _, f := range ar.Files {
				given[f.Name] = f.Data
			}
			input, answer := exchange(t, given["request"], given["output"])
			ar.Files = []txtar.File{{Name: "request", Data: given["request"]}}
			if input != nil {
				ar.Files = append(ar.Files, txtar.File{Name: "input", Data: input}, txtar.File{Name: "output", Data: given["output"]})
			}
			ar.Files = append(ar.Files, txtar.File{Name: "answer", Data: answer})
			got := txtar.Format(ar)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(old), string(got)); diff != "" {
				t.Errorf("%s (-file +got):\n%s", file, diff)
			}
		})
	}
}

// exchange returns the input of the operation, nil if it is not reached, and the
// whole answer.
func exchange(t *testing.T, request, output []byte) (input, answer []byte) {
	t.Helper()
	// The file has neither carriage returns nor lengths, to stay readable.
	head, body, _ := bytes.Cut(bytes.TrimSuffix(request, []byte("\n")), []byte("\n\n"))
	raw := strings.ReplaceAll(string(head), "\n", "\r\n") + fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	reply := wire.Reply{Protocol: wire.ProtocolOf(req), RequestID: "EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE"}
	op, payload, refusal := newRouter(t).Route(req, body)
	if refusal != nil {
		return nil, render(reply.RenderError(refusal, true))
	}
	reply.Op = op
	in, refusal := wire.DecodeInput(op, payload)
	if refusal != nil {
		return nil, render(reply.RenderError(refusal, false))
	}
	out, refusal := wire.Decode(op.Output, output)
	if refusal != nil {
		t.Fatalf("output: %v", refusal)
	}
	input = append(wire.AppendJSON([]byte(op.Name+" "), op.Input, in), '\n')
	return input, render(200, reply.ContentType(), reply.AppendOutput(nil, out))
}

func render(status int, contentType string, body []byte) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d\nContent-Type: %s\n\n%s\n", status, contentType, body)
}
