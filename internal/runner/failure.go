package runner

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Failures of the runtime, as Lambda words them. What a function reports itself goes
// to the caller as it is.

func failure(errorType, message string) []byte {
	text, err := json.Marshal(struct {
		ErrorType    string `json:"errorType"`
		ErrorMessage string `json:"errorMessage"`
	}{errorType, message})
	if err != nil {
		return []byte(`{}`) // cannot be: two strings
	}
	return text
}

func timedOut(requestID string, limit time.Duration) []byte {
	return failure("Sandbox.Timedout", fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", requestID, limit.Seconds()))
}

func exited(requestID, how string) []byte {
	message := "RequestId: " + requestID + " Error: Runtime exited"
	if how == "" {
		return failure("Runtime.ExitError", message+" without providing a reason")
	}
	return failure("Runtime.ExitError", message+" with error: "+how)
}

func tooLarge(size int64) []byte {
	return failure("Function.ResponseSizeTooLarge", fmt.Sprintf("Response payload size (%d bytes) exceeded maximum allowed payload size (%d bytes).", size, maxPayload))
}

// cleanFailure is what a function reports as its failure: a JSON object, or else a
// failure that says that it was none.
func cleanFailure(body []byte) []byte {
	var object map[string]json.RawMessage
	if json.Unmarshal(body, &object) != nil || object == nil {
		return failure("Runtime.Unknown", "the function reported an error that is not a JSON object")
	}
	return body
}

// report is what the REPORT line of the log tells.
type report struct {
	requestID        string
	duration, start  time.Duration // start: 0 for a process that was used before
	memoryMB, peakMB int64
	note             string // a line before END; "" for none
}

// log puts Lambda's lines around what the function printed.
func (r *report) log(output []byte) []byte {
	var b strings.Builder
	b.Grow(len(output) + 512)
	fmt.Fprintf(&b, "START RequestId: %s Version: %s\n", r.requestID, version)
	b.Write(output)
	if len(output) > 0 && output[len(output)-1] != '\n' {
		b.WriteByte('\n')
	}
	if r.note != "" {
		b.WriteString(r.note + "\n")
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	fmt.Fprintf(&b, "END RequestId: %s\n", r.requestID)
	billed := (r.duration + time.Millisecond - 1).Milliseconds()
	fmt.Fprintf(&b, "REPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %d ms\tMemory Size: %d MB\tMax Memory Used: %d MB\t",
		r.requestID, ms(r.duration), billed, r.memoryMB, min(r.peakMB, r.memoryMB))
	if r.start > 0 {
		fmt.Fprintf(&b, "Init Duration: %.2f ms\t", ms(r.start))
	}
	b.WriteByte('\n')
	return []byte(b.String())
}
