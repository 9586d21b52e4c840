// Package e2e tests the programs as their users run them: built binaries as
// processes, over real connections, through real proxies, on both stores. It has no code but
// tests.
package e2e
