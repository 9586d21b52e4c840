// Package sqlitequeue is the embedded queue.Store: one SQLite file for one
// process.
package sqlitequeue
