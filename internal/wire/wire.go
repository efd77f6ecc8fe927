// Package wire turns requests into the generated inputs of package api and outputs
// or errors into answers, in the AWS JSON 1.1 protocol, in the Query protocol of IAM
// and STS, and in the REST-JSON protocol of Lambda. What it accepts is exactly what the shape tables describe: an input
// that DecodeInput returns has every required member, every value in its published
// range, and only valid UTF-8. What it answers in XML is well-formed, whatever
// characters the values hold.
//
// It trusts the tables and nothing else. The bytes it reads come from strangers:
// depth, and the work and memory per byte of a request, are bounded. It is pure, and
// keeps nothing between calls. It does not limit the size of a body and does not
// verify signatures; the edge does both.
package wire

import (
	"cmp"

	"arca/internal/api"
)

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

// Reply is what an answer has to know of its request.
type Reply struct {
	Op        *api.Operation // nil when the request was refused before it was known
	Protocol  api.Protocol   // used when Op is nil; see ProtocolOf
	RequestID string
}

// ContentType is that of successful answers.
func (r Reply) ContentType() string {
	switch r.protocol() {
	case api.Query:
		return contentTypeXML
	case api.RESTJSON:
		return contentTypeREST
	}
	return ContentTypeJSON11
}

// ErrorType is the value of HeaderErrorType in an answer with err; "" means that it has
// no such header.
func (r Reply) ErrorType(err *api.Error) string {
	if r.protocol() != api.RESTJSON || err.Code == wrongContentType {
		return ""
	}
	return err.Code.Name
}

func (r Reply) protocol() api.Protocol {
	if r.Op != nil {
		return r.Op.Service.Protocol
	}
	return r.Protocol
}

// RenderError renders an error as the client gets it, up to the header that ErrorType
// tells. In JSON, errors of the operation carry their text in the member that the code
// or the service has for it; what the front end answers before an operation is reached
// (frontEnd, or no Op) carries it in message, and so do the codes that no service model
// lists but the whole protocol shares. SDKs read both.
func (r Reply) RenderError(err *api.Error, frontEnd bool) (status int, contentType string, body []byte) {
	code := err.Code
	switch {
	case code == wrongContentType:
		return code.Status, "application/xml", []byte("<UnknownOperationException/>")
	case r.protocol() == api.Query:
		namespace := faultNamespace
		if r.Op != nil {
			namespace = r.Op.Service.Namespace
		}
		return code.Status, contentTypeXML, appendErrorResponse(nil, namespace, r.RequestID, err)
	}
	early := frontEnd || r.Op == nil || isProtocolCode(code)
	member := "message"
	if !early {
		member = cmp.Or(code.Member, r.Op.Service.ErrorMember, "Message")
	}
	if r.protocol() == api.RESTJSON {
		return code.Status, contentTypeREST, appendRESTError(nil, err, member, early)
	}
	body = append(body, `{"__type":`...)
	body = api.AppendJSONString(body, code.Name)
	if err.Message != "" {
		body = append(append(append(body, `,"`...), member...), `":`...)
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
