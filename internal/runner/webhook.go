package runner

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"arca/internal/egress"
	"arca/internal/lambda"
)

const (
	// SignatureHeader holds t=SECONDS,v1=HEX: when the request was signed, and the
	// HMAC-SHA256 of SECONDS, a dot and the body.
	SignatureHeader = "Arca-Signature"

	headerWebhookRequest  = "Arca-Request-Id"
	headerWebhookFunction = "Arca-Function-Arn"
	// maxWebhookTime is what package egress allows at most.
	maxWebhookTime = 60 * time.Second
	// maxRefusal is how much of an answer that refuses is shown in the log.
	maxRefusal = 4 << 10
)

// Webhook runs functions that are somebody's HTTPS server: it sends each event there,
// signed, and takes the answer. It is a lambda.Runner, and safe for concurrent use.
//
// It sends an event once. A server that has done the work and whose answer was lost sees
// the event again when whoever invokes the function tries again.
type Webhook struct {
	egress *egress.Client
}

// NewWebhook makes a runner. Requests go where egress allows.
func NewWebhook(c *egress.Client) *Webhook { return &Webhook{egress: c} }

// Invoke sends an event and waits for the answer.
func (w *Webhook) Invoke(ctx context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
	rep := &report{requestID: inv.RequestID, memoryMB: int64(inv.Function.Memory)}
	began := time.Now()
	payload, note, err := w.send(ctx, inv, min(inv.Function.MaxDuration(), maxWebhookTime))
	if ctx.Err() != nil {
		return nil, ctx.Err() // nobody waits any more
	}
	rep.duration = time.Since(began)
	res := &lambda.Result{Payload: payload, Log: rep.log(note)}
	if err != nil {
		failed, ok := errors.AsType[*webhookError](err)
		if !ok {
			return nil, err
		}
		res.FunctionError = lambda.Unhandled
		res.Payload = failure(failed.kind, failed.text)
		if failed.kind == timedOutType {
			res.Payload = timedOut(inv.RequestID, min(inv.Function.MaxDuration(), maxWebhookTime))
		}
	}
	return res, nil
}

// webhookError is a failure of the server behind a webhook, or of what lies between.
type webhookError struct{ kind, text string }

func (e *webhookError) Error() string { return e.kind + ": " + e.text }

// send makes one request. note is for the log.
func (w *Webhook) send(ctx context.Context, inv *lambda.Invocation, limit time.Duration) (payload, note []byte, err error) {
	secret := inv.Environment[lambda.WebhookSecret]
	if len(secret) < lambda.MinWebhookSecret {
		return nil, nil, &webhookError{"Webhook.NoSecret", fmt.Sprintf(
			"the function needs an environment variable %s of at least %d characters, by which its requests are signed", lambda.WebhookSecret, lambda.MinWebhookSecret)}
	}
	target := inv.Environment[lambda.WebhookURL]
	if err := egress.CheckURL(target); err != nil {
		return nil, nil, &webhookError{"Webhook.BadURL", fmt.Sprintf("the environment variable %s is not an https URL", lambda.WebhookURL)}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(inv.Payload))
	if err != nil {
		return nil, nil, &webhookError{"Webhook.BadURL", fmt.Sprintf("the environment variable %s is not an https URL", lambda.WebhookURL)}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "arca")
	req.Header.Set(headerWebhookRequest, inv.RequestID)
	req.Header.Set(headerWebhookFunction, inv.Function.ARN())
	req.Header.Set(SignatureHeader, Sign(secret, time.Now(), inv.Payload))
	resp, err := w.egress.HTTP(egress.Options{Timeout: limit}).Do(req)
	if err != nil {
		return nil, nil, unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		return nil, bytes.ToValidUTF8(said, []byte("?")), &webhookError{"Webhook.Refused", fmt.Sprintf("the webhook answered with status %d", resp.StatusCode)}
	}
	body, err := egress.ReadAll(resp.Body, maxPayload)
	switch {
	case errors.Is(err, egress.ErrTooLarge):
		return nil, nil, &webhookError{"Function.ResponseSizeTooLarge", fmt.Sprintf("the answer has more than %d bytes", maxPayload)}
	case err != nil:
		return nil, nil, unreachable(err)
	}
	payload, err = asJSON(body)
	return payload, nil, err
}

const timedOutType = "Sandbox.Timedout"

// unreachable words an error of a request. The URL, which may hold a token, is not
// repeated; what the network said is.
func unreachable(err error) error {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return &webhookError{timedOutType, ""}
	}
	if at, ok := errors.AsType[*url.Error](err); ok {
		err = at.Err // without the URL
	}
	if errors.Is(err, egress.ErrRedirect) {
		return &webhookError{"Webhook.Refused", egress.ErrRedirect.Error()}
	}
	return &webhookError{"Webhook.Unreachable", err.Error()}
}

// asJSON is an answer as JSON: what is not is taken as a text.
func asJSON(body []byte) ([]byte, error) {
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return []byte("null"), nil
	case json.Valid(body):
		return body, nil
	case !utf8.Valid(body):
		return nil, &webhookError{"Webhook.BadAnswer", "the answer is neither JSON nor text"}
	}
	return json.Marshal(string(body))
}

// Sign returns the value of SignatureHeader for a body that is sent at some time.
func Sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}
