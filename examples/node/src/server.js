import express from "express";

const app = express();
app.disable("x-powered-by");
app.get("/", (_request, response) => response.type("text/plain").send("Hello from Node.js\n"));

const server = app.listen(Number(process.env.PORT ?? 3000), process.env.ADDRESS ?? "0.0.0.0");
process.on("SIGTERM", () => server.close(() => process.exit(0)));
