// Package web is the page that a gateway shows in a browser: files that are embedded in the
// program, served as they are. There is no build step: static holds plain ES modules, and
// static/lib the two libraries that they use (Preact and HTM), which the script refresh
// fetches and verifies.
//
// The page talks to the gateway that served it and to nobody else: POST /v1/login, the
// operators' API, and GET /v1/watch for everything that moves. Its parts:
//
//	app.js        the frame: who is logged in, which view, the connection's state
//	watch.js      a connection to /v1/watch that never gives up; transports.js carries it
//	model.js      what is known, built of the messages of a watch
//	output.js     an execution's output as lines, made of the chunks that come
//	terminal.js   one stream's escape sequences; text.js makes what is hostile visible
//	views/        what is seen
package web
