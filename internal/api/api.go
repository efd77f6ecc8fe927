// Package api holds the facts about every operation Arca serves: shapes,
// constraints, error codes. The facts themselves are written in the *.api files
// beside this file and generated into smapi, kmsapi and so on; this package gives
// them their types. It trusts nothing and does nothing: no I/O, no clock.
package api

import (
	"reflect"
	"regexp"
)

// Protocol says how a service's requests and answers look on the wire.
type Protocol int

const (
	// JSON11 is AWS JSON 1.1: the operation is named by X-Amz-Target.
	JSON11 Protocol = iota + 1
	// Query is the form-encoded protocol of IAM and STS, with XML answers.
	Query
	// RESTJSON names the operation by method and path, as Lambda does.
	RESTJSON
)

// Service describes one AWS service, or one of Arca's own.
type Service struct {
	Name         string // signing name, e.g. "secretsmanager"
	TargetPrefix string // JSON 1.1: what stands before the dot in X-Amz-Target
	// Namespace is the XML namespace of answers of the Query protocol. In JSON 1.1 it is
	// what some clients put before TargetPrefix, with a dot; "" where none do.
	Namespace   string
	Version     string // API version, e.g. "2017-10-17"
	Protocol    Protocol
	EventSource string // CloudTrail eventSource, e.g. "secretsmanager.amazonaws.com"
	// ErrorMember is the member that carries the text of an error in JSON: "Message" or,
	// as KMS has it, "message". Empty is "Message". A code may have its own.
	ErrorMember string
	// InternalError is the code an unexpected failure is answered with.
	InternalError *Code
	// AccessDenied, Invalid and Throttled are the codes of the service's protocol for
	// a forbidden call, for a member that breaks a published constraint, and for a
	// caller that sends too much. NewService fills in those that are nil.
	AccessDenied, Invalid, Throttled *Code
	Operations                       []*Operation // sorted by name
}

// Operation describes one API operation.
type Operation struct {
	Service  *Service
	Name     string
	ReadOnly bool // CloudTrail's readOnly
	// Unsigned: AWS lets anybody call it without a signature. The operation itself
	// decides whom it believes.
	Unsigned bool
	// Recorded: audit records show the answer although the operation is read-only, as
	// CloudTrail does where it hands out credentials.
	Recorded bool
	// Slow: it may take minutes, because it waits for the program of a customer.
	Slow bool
	// NoResult: answers of the Query protocol have no result element. Output then
	// has no members.
	NoResult bool
	// EventName is CloudTrail's eventName where that is not Name; "" where it is.
	EventName string
	// Method, Path and Status are those of REST-JSON: an HTTP method, a path whose
	// {Member} parts stand for members of the input, and the status of an answer that has
	// no member for it.
	Method, Path string
	Status       int
	// MaxBody is the largest body of a request in bytes; 0 is the server's usual limit.
	MaxBody int
	Input   *Shape
	Output  *Shape // nil when the operation answers without a body
	Errors  []*Code
}

// Kind is the JSON kind of a shape.
type Kind int

const (
	Structure Kind = iota + 1
	List
	Map
	String
	Blob
	Boolean
	Integer
	Long
	Timestamp
)

// Shape describes a value on the wire, with the constraints AWS publishes for it.
type Shape struct {
	Kind      Kind
	Name      string
	Fields    []Field // Structure, in model order
	Elem      *Shape  // List element, Map value
	Key       *Shape  // Map key
	Min, Max  int64   // length of strings (characters), blobs (bytes), lists, maps; value of numbers
	HasMin    bool
	HasMax    bool
	Pattern   *regexp.Regexp // anchored as AWS applies it: the whole value
	PatternAs string         // the pattern as AWS prints it in error texts
	Enum      []string
	Sensitive bool
	Quiet     bool         // error texts do not repeat the value, although it is no secret
	Type      reflect.Type // generated Go struct, for Structure
}

// Place is where a member of a REST-JSON input or output stands.
type Place int

const (
	// InBody is a member of the JSON body, as are all members of the other protocols and
	// of inner structures.
	InBody Place = iota
	// InPath is a part of the path.
	InPath
	// InQuery is a parameter of the URL; a list has one for each of its elements.
	InQuery
	// InHeader is an HTTP header.
	InHeader
	// AsBody is the whole body, a blob as it is.
	AsBody
	// AsStatus is the HTTP status of the answer.
	AsStatus
)

// Field is one member of a structure.
type Field struct {
	Name     string // member name on the wire; the Go field begins with a capital
	Index    int    // index of the Go struct field
	Shape    *Shape
	Required bool
	// Token marks the member that SDKs fill with a fresh UUID when it is absent.
	Token bool
	// Plain marks a number or boolean that AWS holds as a plain value: absent is the
	// same as zero, and audit records show the zero. Here it is a pointer like any
	// other optional member.
	Plain bool
	Place Place
	// WireName is what the member is called as a parameter of the URL or header.
	WireName string
}
