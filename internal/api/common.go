package api

import "cmp"

// Codes that the services of the JSON 1.1 protocol answer with although no service
// model lists them. Generated packages give the same values under their own names, so
// a code can be compared by identity whichever name it was taken from.
var (
	// AccessDeniedException: a policy, or the lack of one, forbids the call.
	AccessDeniedException = &Code{Name: "AccessDeniedException", Status: 400}
	// ValidationException: a member of the request breaks a published constraint.
	ValidationException = &Code{Name: "ValidationException", Status: 400}
	// ThrottlingException: the caller sends too much, or the server is overloaded.
	ThrottlingException = &Code{Name: "ThrottlingException", Status: 400}
	// SerializationException: the body cannot be read as the operation's input.
	SerializationException = &Code{Name: "SerializationException", Status: 400}
	// UnknownOperationException: no service here has the operation asked for.
	UnknownOperationException = &Code{Name: "UnknownOperationException", Status: 400}
)

// Codes that the services of the Query protocol answer with although no service
// model lists them.
var (
	// AccessDenied: a policy, or the lack of one, forbids the call.
	AccessDenied = &Code{Name: "AccessDenied", Status: 403}
	// ValidationError: a member of the request breaks a published constraint.
	ValidationError = &Code{Name: "ValidationError", Status: 400}
	// InvalidParameterValue: a value is well-formed and yet of no use to the operation.
	InvalidParameterValue = &Code{Name: "InvalidParameterValue", Status: 400}
	// Throttling: the caller sends too much, or the server is overloaded.
	Throttling = &Code{Name: "Throttling", Status: 400}
	// MalformedInput: a parameter cannot be read as the member it names.
	MalformedInput = &Code{Name: "MalformedInput", Status: 400}
	// MalformedQueryString: the parameters cannot be told apart.
	MalformedQueryString = &Code{Name: "MalformedQueryString", Status: 404}
	// MissingAction: the request names no operation.
	MissingAction = &Code{Name: "MissingAction", Status: 400}
	// InvalidAction: no service here has the operation asked for in that version.
	InvalidAction = &Code{Name: "InvalidAction", Status: 400}
	// InternalFailure: the service failed, through no fault of the caller.
	InternalFailure = &Code{Name: "InternalFailure", Status: 500}
)

// RESTAccessDenied is AccessDeniedException as the services of the REST-JSON protocol
// have it. The other codes of JSON 1.1 above are the same there.
var RESTAccessDenied = &Code{Name: "AccessDeniedException", Status: 403}

// NewService completes a description: it tells each operation of s which service
// it belongs to, and s which codes its protocol has for what befalls any service.
// Generated code calls it once per service.
func NewService(s Service) *Service {
	denied, invalid, throttled := AccessDeniedException, ValidationException, ThrottlingException
	switch s.Protocol {
	case Query:
		denied, invalid, throttled = AccessDenied, ValidationError, Throttling
	case RESTJSON:
		denied = RESTAccessDenied
	}
	s.AccessDenied = cmp.Or(s.AccessDenied, denied)
	s.Invalid = cmp.Or(s.Invalid, invalid)
	s.Throttled = cmp.Or(s.Throttled, throttled)
	for _, op := range s.Operations {
		op.Service = &s
	}
	return &s
}

// Operation returns the operation called name, or nil.
func (s *Service) Operation(name string) *Operation {
	for _, op := range s.Operations {
		if op.Name == name {
			return op
		}
	}
	return nil
}
