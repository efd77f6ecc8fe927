package runner

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"arca/internal/lambda"
)

// running is an invocation on its way to a process and back.
type running struct {
	inv      *lambda.Invocation
	deadline time.Time
	// done takes the outcome, once.
	done chan outcome
}

type outcome struct {
	payload []byte
	failed  bool
}

// Names of the Runtime API.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
const (
	apiPath         = "/2018-06-01/runtime/"
	headerRequestID = "Lambda-Runtime-Aws-Request-Id"
	headerDeadline  = "Lambda-Runtime-Deadline-Ms"
	headerFunction  = "Lambda-Runtime-Invoked-Function-Arn"
	headerTrace     = "Lambda-Runtime-Trace-Id"
	headerClient    = "Lambda-Runtime-Client-Context"
)

// handler serves the Runtime API to the process of one instance.
func (in *instance) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+apiPath+"invocation/next", in.serveNext)
	mux.HandleFunc("POST "+apiPath+"invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) { in.serveOutcome(w, r, false) })
	mux.HandleFunc("POST "+apiPath+"invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) { in.serveOutcome(w, r, true) })
	mux.HandleFunc("POST "+apiPath+"init/error", in.serveInitError)
	return mux
}

// serveNext parks the process until there is an event for it.
func (in *instance) serveNext(w http.ResponseWriter, r *http.Request) {
	if !in.park() {
		answer(w, http.StatusForbidden, "InvalidStateTransition", "an event is being waited for already, or was not answered yet")
		return
	}
	select {
	case run := <-in.events:
		in.begin(run)
		h := w.Header()
		h.Set(headerRequestID, run.inv.RequestID)
		h.Set(headerDeadline, strconv.FormatInt(run.deadline.UnixMilli(), 10))
		h.Set(headerFunction, run.inv.Function.ARN())
		h.Set(headerTrace, traceID(run.inv.RequestID, run.inv.Now))
		if run.inv.ClientContext != "" {
			h.Set(headerClient, run.inv.ClientContext)
		}
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(run.inv.Payload)))
		_, _ = w.Write(run.inv.Payload) // a process that is gone is noticed as that
	case <-r.Context().Done():
		in.stop() // it has hung up, so it will never get an event
	case <-in.dead:
	}
}

// serveOutcome takes an answer or a failure of the invocation that is running.
func (in *instance) serveOutcome(w http.ResponseWriter, r *http.Request, failed bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPayload))
	out := outcome{payload: body, failed: failed}
	if tooBig, ok := errors.AsType[*http.MaxBytesError](err); ok {
		out = outcome{payload: tooLarge(max(r.ContentLength, tooBig.Limit+1)), failed: true}
	} else if err != nil {
		answer(w, http.StatusBadRequest, "InvalidRequest", "the body was cut off")
		return
	}
	if failed && err == nil {
		out.payload = cleanFailure(body)
	}
	if !in.finish(r.PathValue("id"), out) {
		answer(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
		return
	}
	if err != nil {
		answer(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Exceeded maximum allowed payload size.")
		return
	}
	accepted(w)
}

// serveInitError takes the failure of a process to get ready.
func (in *instance) serveInitError(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPayload))
	if err != nil {
		body = nil
	}
	select {
	case in.initFailed <- cleanFailure(body):
	default: // it has said so before
	}
	accepted(w)
}

func accepted(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`)
}

func answer(w http.ResponseWriter, status int, errorType, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"errorType": errorType, "errorMessage": message})
}

// traceID is what tracing clients expect to find; nothing is traced.
func traceID(requestID string, now time.Time) string {
	sum := sha256.Sum256([]byte(requestID))
	return fmt.Sprintf("Root=1-%08x-%x;Sampled=0", now.Unix(), sum[:12])
}
