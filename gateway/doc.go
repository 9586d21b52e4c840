// Package gateway is the server: an http.Handler with the operators' and the
// agents' routes, and a [Server] that runs it on a listener with everything that belongs
// to it.
//
// A request passes, in this order: the limit of its class, before any
// cryptography; its token; the limit of its identity; its handler. Handlers return errors, and one
// place makes problem documents of them (problem.go). routes.go is the table of all routes, with who
// may call each.
//
// Nothing is answered with 2xx before the store has it.
package gateway
