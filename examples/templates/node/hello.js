function handle(task) {
    const { name } = task.task_data;
    if (typeof name !== "string") return { status: "error", error: "data.name must be a string" };
    return { status: "success", result: { hello: name } };
}

async function answer(line) {
    const task = JSON.parse(line);
    let reply;
    try {
        reply = await handle(task);
    } catch (error) {
        console.error(error); // to the attempt's log
        reply = { status: "error", error: String(error) };
    }
    process.stdout.write(JSON.stringify({ ...reply, task_id: task.task_id }) + "\n");
}

async function main() {
    let rest = "";
    for await (const chunk of process.stdin.setEncoding("utf8")) {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop();
        for (const line of lines) await answer(line);
    }
}

module.exports = { handle };
if (require.main === module) main();
