package ship

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"arca/internal/webhook"
)

const maxIDBytes = 200

// httpsOutput posts batches to a URL.
type httpsOutput struct {
	client *webhook.Client
	origin string // the log's, as it may stand in an id
	array  bool
	gzip   bool
	skip   func(n uint64, err error) // nil: a refused line is tried for ever
}

func newHTTPSOutput(cfg Config, c SinkConfig, skip func(uint64, error)) (*httpsOutput, error) {
	secrets, err := webhook.ReadSecrets(c.SecretFiles)
	if err != nil {
		return nil, err
	}
	roots, err := webhook.ReadRoots(c.CAFile)
	if err != nil {
		return nil, err
	}
	client, err := webhook.New(webhook.Config{
		URL: c.URL, Secrets: secrets, RootCAs: roots, Timeout: time.Duration(c.TimeoutSeconds) * time.Second, Connections: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	o := &httpsOutput{client: client, origin: idText(cmp.Or(cfg.Log.Origin(), cfg.node())), array: c.Format == "array", gzip: c.Gzip}
	if c.OnRejected == "skip" {
		o.skip = skip
	}
	return o, nil
}

// idText makes a text of letters, digits, "_" and "-", short enough to leave room for
// two numbers.
func idText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' {
			return r
		}
		return '-'
	}, s)
	return s[:min(len(s), maxIDBytes-2*len("-18446744073709551615"))]
}

func (o *httpsOutput) send(ctx context.Context, b *batch) error {
	return o.sendPart(ctx, b, 0, b.len())
}

// sendPart sends the lines from i to before j. Of lines that are too many for the
// receiver, or among which it refuses some, it sends halves.
func (o *httpsOutput) sendPart(ctx context.Context, b *batch, i, j int) error {
	m, err := o.message(b, i, j)
	if err != nil {
		return err
	}
	err = o.client.Send(ctx, m)
	if !webhook.Permanent(err) {
		return err
	}
	status, _ := errors.AsType[*webhook.StatusError](err)
	if j-i > 1 && (o.skip != nil || status.Code == http.StatusRequestEntityTooLarge) {
		half := (i + j) / 2
		if err := o.sendPart(ctx, b, i, half); err != nil {
			return err
		}
		return o.sendPart(ctx, b, half, j)
	}
	if j-i == 1 && o.skip != nil {
		o.skip(b.nums[i], err)
		return nil
	}
	return err
}

// message puts lines into a body. Its id names the log and the numbers of the first
// and the last line: sending the same lines again gives the same id.
func (o *httpsOutput) message(b *batch, i, j int) (webhook.Message, error) {
	m := webhook.Message{
		ID:   fmt.Sprintf("%s-%d-%d", o.origin, b.nums[i], b.nums[j-1]),
		Type: "application/x-ndjson",
		Body: b.cut(i, j),
	}
	if o.array {
		m.Type = "application/json"
		// Lines hold no newline, so each one is the end of a line.
		body := append(make([]byte, 0, len(m.Body)+1), '[')
		body = append(body, bytes.ReplaceAll(m.Body[:len(m.Body)-1], []byte{'\n'}, []byte{','})...)
		m.Body = append(body, ']')
	}
	if o.gzip {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		_, err := w.Write(m.Body)
		if err = errors.Join(err, w.Close()); err != nil {
			return m, err
		}
		m.Encoding, m.Body = "gzip", z.Bytes()
	}
	return m, nil
}

func (o *httpsOutput) settle(context.Context) error { return nil }
func (o *httpsOutput) doubt() time.Duration         { return 0 }
func (o *httpsOutput) close()                       { o.client.Close() }
func (o *httpsOutput) String() string               { return o.client.Host() }
