package api

// Codes that every JSON 1.1 service answers with although no service model lists
// them. Generated packages give the same values under their own names, so a code
// can be compared by identity whichever name it was taken from.
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

// NewService completes a description: it tells each operation of s which service
// it belongs to. Generated code calls it once per service.
func NewService(s Service) *Service {
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
