// Package wire turns requests into the generated inputs of package api and outputs
// or errors into answers, in the AWS JSON 1.1 protocol. What it accepts is exactly
// what the shape tables describe: an input that DecodeInput returns has every
// required member, every value in its published range, and only valid UTF-8.
//
// It trusts the tables and nothing else. The bytes it reads come from strangers:
// depth, and the work and memory per byte of a request, are bounded. It is pure, and
// keeps nothing between calls. It does not limit the size of a body and does not
// verify signatures; the edge does both.
package wire

import "arca/internal/api"

// ContentTypeJSON11 is the content type of AWS JSON 1.1 requests and answers.
const ContentTypeJSON11 = "application/x-amz-json-1.1"

// Header names of the protocol.
const (
	HeaderTarget    = "X-Amz-Target"
	HeaderRequestID = "x-amzn-RequestId"
)

// wrongContentType is what AWS answers, in XML, when a request is in no protocol
// that it speaks.
var wrongContentType = &api.Code{Name: "UnknownOperationException", Status: 404}

// RenderError renders an error as the client gets it. Errors of the operation carry
// their text in the member Message; what the front end answers before an operation
// is reached (frontEnd, or op == nil) carries it in message, and so do the codes that
// no service model lists but the whole protocol shares. SDKs read both.
func RenderError(op *api.Operation, err *api.Error, frontEnd bool) (status int, contentType string, body []byte) {
	code := err.Code
	if code == wrongContentType {
		return code.Status, "application/xml", []byte("<UnknownOperationException/>")
	}
	member := `,"Message":`
	if frontEnd || op == nil || isProtocolCode(code) {
		member = `,"message":`
	}
	body = append(body, `{"__type":`...)
	body = api.AppendJSONString(body, code.Name)
	if err.Message != "" {
		body = append(body, member...)
		body = api.AppendJSONString(body, err.Message)
	}
	return code.Status, ContentTypeJSON11, append(body, '}')
}

// isProtocolCode reports whether the code belongs to the protocol and not to a
// service's model. AccessDeniedException is in no model either, but AWS writes it
// like a modelled one.
func isProtocolCode(c *api.Code) bool {
	switch c {
	case api.ValidationException, api.SerializationException,
		api.ThrottlingException, api.UnknownOperationException:
		return true
	}
	return false
}
