package lambda

import (
	"arca/internal/api/lambdaapi"
	"arca/internal/call"
)

// Register makes the dispatcher serve every operation of the service.
func (s *Service) Register(d *call.Dispatcher) {
	call.Register(d, lambdaapi.OpAddPermission, s.AddPermission)
	call.Register(d, lambdaapi.OpCreateFunction, s.CreateFunction)
	call.Register(d, lambdaapi.OpDeleteFunction, s.DeleteFunction)
	call.Register(d, lambdaapi.OpGetFunction, s.GetFunction)
	call.Register(d, lambdaapi.OpGetFunctionCodeSigningConfig, s.GetFunctionCodeSigningConfig)
	call.Register(d, lambdaapi.OpGetFunctionConfiguration, s.GetFunctionConfiguration)
	call.Register(d, lambdaapi.OpGetPolicy, s.GetPolicy)
	call.Register(d, lambdaapi.OpInvoke, s.opInvoke)
	call.Register(d, lambdaapi.OpListFunctions, s.ListFunctions)
	call.Register(d, lambdaapi.OpListTags, s.ListTags)
	call.Register(d, lambdaapi.OpListVersionsByFunction, s.ListVersionsByFunction)
	call.Register(d, lambdaapi.OpRemovePermission, s.RemovePermission)
	call.Register(d, lambdaapi.OpTagResource, s.TagResource)
	call.Register(d, lambdaapi.OpUntagResource, s.UntagResource)
	call.Register(d, lambdaapi.OpUpdateFunctionCode, s.UpdateFunctionCode)
	call.Register(d, lambdaapi.OpUpdateFunctionConfiguration, s.UpdateFunctionConfiguration)
}
